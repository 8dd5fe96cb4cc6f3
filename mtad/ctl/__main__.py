"""`python -m mtad.ctl` is `mtactl`."""

from mtad.ctl.command import main

if __name__ == "__main__":
    main()
