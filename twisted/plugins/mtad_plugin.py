"""Tells twistd of mtad: `twistd -n mtad --config config.yaml`."""

from twisted.application.service import ServiceMaker

mtad = ServiceMaker("mtad", "mtad.tap", "A multi-tenant mail transfer agent.", "mtad")
