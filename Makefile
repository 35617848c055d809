# Every target works in a fresh clone with Python >= 3.10 and make: the first one asked for makes .venv.

PYTHON ?= python3
# What a user gets, and with what contributors need besides.
USABLE := .venv/usable
INSTALLED := .venv/installed

.PHONY: demo test test-all test-slow test-portable check cluster-test docs faults fuzz soak bench golden screenshots \
        scoreboard scoreboard-run wheel

demo: $(USABLE)       ## the quickstart study, in a folder of its own under ./studies
	mkdir -p studies
	cd "$$(mktemp -d studies/demo-XXXXXX)" && ../../.venv/bin/auxtune run ../../examples/quickstart.yaml

# Whole files at a time, since a file's tests share what is slow to make; two at once keep two cores busy.
PYTEST := .venv/bin/python -m pytest --numprocesses 2 --dist loadfile

test: $(INSTALLED)       ## what a contributor needs: every test that takes no study of many seconds
	$(PYTEST) -m "not slow"

test-all: test test-slow test-portable  ## and whole studies, killed and resumed, pages followed, a browser, other arithmetic

# tests/cluster beside the others, since they wait most of the time: for an installation, for nodes that come and go.
# They are skipped, with the reason, where this machine cannot be parted: as root, with sshd and rsync.
test-slow: wheel
	mkdir -p build
	AUXTUNE_CLUSTER_TEST=1 .venv/bin/python -m pytest tests/cluster > build/cluster-test.txt 2>&1 & cluster=$$!; \
	$(PYTEST) --no-loadscope-reorder -m slow --ignore tests/cluster; others=$$?; \
	wait $$cluster; beside=$$?; cat build/cluster-test.txt; exit $$((others + beside))

ROWS ?=
faults: $(INSTALLED)     ## faults injected for real, many of each kind: a table, a result file each; ROWS="kill-1 disk"
	PYTHONPATH=tests .venv/bin/python -m faults $(ROWS)

TRIALS ?= 10000
soak: $(INSTALLED)       ## a study of thousands of trials, its driver killed every few minutes: memory, files, disk over time
	PYTHONPATH=tests .venv/bin/python -m faults.soak --trials $(TRIALS)

INPUTS ?= 10000
fuzz: $(INSTALLED)       ## that many inputs that no one would write, drawn at random: each is read or refused, in seconds
	AUXTUNE_FUZZ=$(INPUTS) .venv/bin/python -m pytest --numprocesses 2 tests/test_fuzz.py

# Rounding differs by processor, and with it how trainings end: tests that rest on trained numbers, with fewer of its
# instructions and with torch's own kernels in place of oneDNN's. `ON=avx2` is one of them, `PICK="not slow"` more tests.
PORTABLE := default avx2 without-mkldnn
ON ?= $(PORTABLE)
PICK ?= arithmetic and not slow
SETTING_default := ATEN_CPU_CAPABILITY=default
SETTING_avx2 := ATEN_CPU_CAPABILITY=avx2
SETTING_without-mkldnn := PYTHONPATH=$(CURDIR)/tests/without_mkldnn
test-portable: $(addprefix test-on-,$(ON))  ## the tests of trained numbers in three other kinds of arithmetic

test-on-%: $(INSTALLED)
	$(SETTING_$*) $(PYTEST) -m "$(PICK)"

check: $(INSTALLED) wheel  ## lint, format, types, and the wheel away from this folder
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.ci/try-wheel dist/*.whl

cluster-test: wheel      ## of test-all: ray up over SSH, on a machine of its own within this one; as root, with sshd and rsync
	AUXTUNE_CLUSTER_TEST=1 .venv/bin/python -m pytest tests/cluster

docs: $(INSTALLED)       ## the generated parts of docs/, and all of it as a site, build/site
	.venv/bin/python docs/generate.py
	.venv/bin/python -m sphinx -W --keep-going -q -c docs -d build/doctrees . build/site

AGAIN ?=
golden: $(INSTALLED)     ## tests/golden, stored formats that must stay readable: what is missing; AGAIN="tag hoa" or AGAIN=all
	.venv/bin/python tests/golden/make.py $(if $(AGAIN),--again $(filter-out all,$(AGAIN)))

SHOWN ?= studies/shown
screenshots: $(INSTALLED)  ## docs/pictures, from two studies that are run in SHOWN=DIR unless they are there; needs Chromium
	PYTHONPATH=tests .venv/bin/python docs/screenshots.py $(SHOWN)

TABLES ?= examples/tables
scoreboard: $(INSTALLED)  ## docs/scoreboard.md from the result files
	.venv/bin/python benchmarks/scoreboard.py

scoreboard-run: $(INSTALLED)  ## those result files; TABLES=DIR names a folder with more recorded tables
	.venv/bin/python benchmarks/scoreboard_run.py --tables $(TABLES)

bench: $(INSTALLED)      ## docs/performance.md, its rows measured anew: hours; ROWS="a d" are some of them
	.venv/bin/python benchmarks/bench.py $(ROWS)

wheel: $(INSTALLED)      ## dist/*.whl; what an earlier build left behind must not get into it
	rm -rf build/lib build/bdist.* dist
	.venv/bin/python -m build --wheel --no-isolation

$(USABLE): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --editable . --constraint constraints.txt
	touch $@

$(INSTALLED): $(USABLE)
	.venv/bin/python -m pip install --editable ".[dev]" --constraint constraints.txt
	touch $@
