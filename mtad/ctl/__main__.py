"""`python -m mtad.ctl` is `mtactl`."""

from mtad.ctl.command import main

main()
