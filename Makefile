# Every target makes .venv first, where it is missing or older than what it is made from.
#   make run     convert the models of fixtures/, run every artefact, compare, write results.json
#   make test    the tests of minutes  make lint   style, types, import contracts
#   make test-all             all tests, as CI runs them; installs Chromium for those of the page, where it can
#   make test-kernels         the tests that compare numbers, under each kind of kernel that the processor has
#   make faults  inject the catalogue of faults into ten networks and print what was detected and named
#   make slow    run all tests, and write to tests/slow.txt those that take long, which `make test` leaves out
#   make bench   speed and memory; keeps what it prints in docs/bench.md
#   make fuzz    2,000 damaged model files, then 20,000 random programs: the evaluator against coremltools' own
#                folding, naive definitions and itself in float64; some twenty minutes on two cores
#   make many                 a trained network on up to 5,000 pictures, sound and with ten small faults
#   make sensitivity          architectures trained on the digits: how far hardware's arithmetic may move each
#   make gate-simulation      10,000 runs at the margin of the gate on accuracy: false passes, false fails, power
#   make labelled             a small trained network on 20,000 labelled pictures, with a gate and three faults
#   make variants             the models of fixtures/ by every target and compression: size, |dp|, verdict
#   make zoo                  networks of torchvision, timm and transformers by every route; hours; runs what
#                             tests/zoo/zoo.jsonl lacks; ONLY=timm/, ROUTE=coreai or COVERING=1 (30 networks) for
#                             a part; writes docs/zoo.md
#   make attack               hostile files, names, numbers and user code against every command; ONLY='models/*'
#   make cross-check          the evaluator beside Core AI's runtime, operation by operation; EXAMPLES=100 for more
#   make clean   remove what make made, .venv included
#   make conformance          Apple's own tests, through the evaluator; half an hour on two cores
#   make conformance-native   on a Mac: where Apple's runtime and the evaluator differ; SAMPLE=500 for a part

PYTHON ?= python3
WORKERS ?= 2
BIN := .venv/bin
# Else each of a hundred processes compiles every module anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test test-all slow browser test-kernels lint bench many gate-simulation labelled sensitivity variants zoo conformance conformance-native cross-check fuzz attack faults venv clean

run: .venv/.installed
	$(BIN)/parity run fixtures/parity.toml --json results.json

test: .venv/.installed
	HYPOTHESIS_PROFILE=$${HYPOTHESIS_PROFILE:-quick} $(BIN)/pytest -n $(WORKERS) --dist loadgroup -m 'not thorough'

test-all: .venv/.installed browser
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup --durations=25

slow: .venv/.installed
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup --junitxml .parity/tests.xml
	$(BIN)/python tests/slowest.py .parity/tests.xml

browser:
	tests/browser.sh

test-kernels: .venv/.installed
	$(BIN)/python tests/kernels/run.py --workers $(WORKERS)

lint: .venv/.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: .venv/.installed
	$(BIN)/python tests/bench/every.py

many: .venv/.installed
	$(BIN)/python tests/bench/many.py

sensitivity: .venv/.installed
	$(BIN)/python tests/bench/sensitivity.py

gate-simulation: .venv/.installed
	$(BIN)/python tests/bench/gate.py

labelled: .venv/.installed
	$(BIN)/python tests/bench/labelled.py

variants: .venv/.installed
	$(BIN)/python tests/bench/variants.py

zoo: .venv/.installed
	$(BIN)/python tests/zoo/run.py --workers $(WORKERS) $(ONLY:%=--only '%') $(ROUTE:%=--route %) $(COVERING:%=--covering)

conformance: .venv/.installed
	$(BIN)/python tests/conformance/run.py --workers $(WORKERS)

conformance-native: .venv/.installed
	$(BIN)/python tests/conformance/run.py --workers $(WORKERS) $(SAMPLE:%=--sample %) --native conformance-native.json

cross-check: .venv/.installed
	$(BIN)/python tests/cross_check/run.py $(EXAMPLES:%=--examples %)

faults: .venv/.installed
	FAULTS=all $(BIN)/pytest -n $(WORKERS) tests/faults

fuzz: .venv/.installed
	$(BIN)/python tests/coreml/fuzz.py --cases 2000 --workers $(WORKERS)
	$(BIN)/python tests/coreml/random_programs/run.py --programs 20000 --workers $(WORKERS)

attack: .venv/.installed
	$(BIN)/python tests/attack/run.py --workers $(WORKERS) $(ONLY:%=--only '%')

venv: .venv/.installed

# Interrupted, pip leaves half a package that it later takes for a whole one: .installing says that this
# happened, and the environment is emptied (not of dot files: the mark goes last). Python 3.14 is not
# named because coremltools 9.0 has no wheels for it.
.venv/.installed: pyproject.toml constraints.txt
	@if test -e .venv/.installing; then rm -rf .venv/*; fi
	@test -x $(BIN)/python || \
	    $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || \
	    { echo "coreml-parity needs Python 3.11, 3.12 or 3.13; \`$(PYTHON)\` is $$($(PYTHON) -V 2>&1);" \
	        "name another: make PYTHON=python3.11" >&2; exit 1; }
	@mkdir -p .venv && rm -f .venv/.installed && touch .venv/.installing
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo 'Installing into .venv; the first time this takes minutes.'
	$(BIN)/python -m pip install -qq -c constraints.txt -e '.[legacy,demo,timm,transformers,test]'
	@$(BIN)/python -m pip install -qq -c constraints.txt -e '.[coreai]' || \
	    echo 'Core AI has no packages for this system; its routes and tests are skipped.'
	@touch .venv/.installed && rm .venv/.installing

clean:
	rm -rf .venv .parity results.json conformance-native.json build dist *.egg-info \
	    .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
