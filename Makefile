# alol: one PostgreSQL extension (alol.so), one engine beside it (alol-engine).
#
#   make               builds both
#   make cuda          builds the module for NVIDIA GPUs, alol_cuda.so
#   make install       puts them where pg_config says
#   make check-engine  the engine's own tests; SANITIZE=1: under ASan and UBSan
#   make check-cuda    the GPU's kernels, run on the CPU (cuda/cuda.mk)
#   make installcheck  the SQL tests, against a running server
#   make check-server  the server tests (each starts servers of its own)
#   make fuzz          the fuzzers, a minute each
#   make bench         speed and memory, beside PyTorch's where it is installed
#   make bench-tasks   the recipes of docs/tasks at full size, and their tables
#   make deps          installs the Debian packages that all of this needs

EXTENSION = alol
EXTVERSION = 0.1.0
MODULE_big = alol
PG_CONFIG ?= pg_config

OBJS = $(patsubst %.c,%.o,$(wildcard src/extension/*.c src/extension/*/*.c src/wire/*.c))
DATA_built = alol--$(EXTVERSION).sql
PG_CPPFLAGS = -Isrc -Isrc/extension -DALOL_VERSION='"$(EXTVERSION)"'
PG_CFLAGS = -Werror -fvisibility=hidden -MMD -MP

REGRESS = $(sort $(patsubst test/sql/%.sql,%,$(wildcard test/sql/*.sql)))
REGRESS_OPTS = --inputdir=test --outputdir=build/regress --load-extension=pgtap

EXTRA_CLEAN = build alol_cuda.so alol--$(EXTVERSION).sql $(OBJS:.o=.d)

override with_llvm = no
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

all: alol-engine

# A header that changed makes the objects that include it anew.
-include $(OBJS:.o=.d)

# The SQL objects, in the order in which a user meets them.
SQL_PARTS = sql/models.sql sql/inference.sql sql/scores.sql \
	sql/training.sql sql/critics.sql sql/jobs.sql sql/evaluation.sql \
	sql/reports.sql sql/rights.sql
alol--$(EXTVERSION).sql: $(SQL_PARTS)
	cat $^ > $@

# ---------------------------------------------------------------- the engine
SANITIZE ?= 0
ENGINE_BUILD = build/engine$(if $(filter 1,$(SANITIZE)),-sanitized)
ENGINE_SOURCES = $(shell find src/engine -name '*.c') $(wildcard src/wire/*.c)
ENGINE_OBJECTS = $(patsubst src/%.c,$(ENGINE_BUILD)/%.o,$(ENGINE_SOURCES))
ENGINE_LIBRARY = $(ENGINE_BUILD)/libalol-engine.a
ENGINE_CFLAGS = -std=gnu11 -D_GNU_SOURCE -O3 -g -Wall -Wextra -Werror -Wshadow \
	-Wstrict-prototypes -Wmissing-prototypes -fopenmp -fno-math-errno \
	-ffp-contract=off -Isrc -Isrc/engine -DALOL_VERSION='"$(EXTVERSION)"' \
	-DPCRE2_CODE_UNIT_WIDTH=8 -DALOL_DEVICE_LAYOUT='"$(DEVICE_LAYOUT)"' \
	-MMD -MP
# What an engine and a module of devices must both have been built from.
DEVICE_LAYOUT := $(shell cd src/engine && cat device/device.h \
	device/collective.h device/module.h base/dtype.h base/dynamic8.h \
	base/failure.h | \
	cksum | tr ' ' '-')
ENGINE_LIBS = -ldnnl -ljansson -lpcre2-8 -lutf8proc -ldl -lm
ifeq ($(SANITIZE),1)
ENGINE_CFLAGS += -O1 -fsanitize=address,undefined -fno-sanitize-recover=all \
	-fno-omit-frame-pointer
endif

alol-engine: $(ENGINE_BUILD)/alol-engine
	cp $< $@

$(ENGINE_BUILD)/alol-engine: $(ENGINE_BUILD)/engine/main.o $(ENGINE_LIBRARY)
	$(CC) $(ENGINE_CFLAGS) -o $@ $^ $(ENGINE_LIBS)

$(ENGINE_LIBRARY): $(filter-out %/engine/main.o,$(ENGINE_OBJECTS))
	rm -f $@ && ar rcs $@ $^

$(ENGINE_BUILD)/%.o: src/%.c
	@mkdir -p $(@D)
	$(CC) $(ENGINE_CFLAGS) -c -o $@ $<

# Kernels may contract a * b + c: rounding once is exacter, and twice as fast.
$(ENGINE_BUILD)/engine/device/cpu/%.o: ENGINE_CFLAGS += -ffp-contract=fast \
	-mprefer-vector-width=512

-include $(ENGINE_OBJECTS:.o=.d)

install: install-engine
install-engine: alol-engine
	$(INSTALL_PROGRAM) alol-engine '$(DESTDIR)$(pkglibdir)/alol-engine'
uninstall: uninstall-engine
uninstall-engine:
	rm -f '$(DESTDIR)$(pkglibdir)/alol-engine'

# ----------------------------------------------------------------- the tests
ENGINE_TEST_SOURCES = $(shell find test/engine -name '*_test.c')
ENGINE_TESTS = $(patsubst test/engine/%.c,$(ENGINE_BUILD)/test/%,$(ENGINE_TEST_SOURCES))

$(ENGINE_BUILD)/test/%: test/engine/%.c $(ENGINE_LIBRARY)
	@mkdir -p $(@D)
	$(CC) $(ENGINE_CFLAGS) -Itest/engine -o $@ $< $(ENGINE_LIBRARY) \
		$(ENGINE_LIBS) -lcmocka

-include $(ENGINE_TESTS:=.d)

# Devices for tests that must not be there otherwise: the CPU backend once
# more, behind a table that can fail.
MODULE = $(ENGINE_BUILD)/test/module/alol_cuda.so
MODULE_SOURCES = $(wildcard test/module/*.c src/engine/base/*.c \
	src/engine/device/cpu/*.c)
MODULE_OBJECTS = $(patsubst %.c,$(ENGINE_BUILD)/module/%.o,$(MODULE_SOURCES))

$(MODULE): $(MODULE_OBJECTS)
	@mkdir -p $(@D)
	$(CC) $(ENGINE_CFLAGS) -shared -o $@ $^ -ldnnl -lm

# Tests of the engine as it is installed, with these devices.
$(patsubst %,$(ENGINE_BUILD)/test/serve/%_test,devices lost planned ranks): \
	| $(MODULE) $(ENGINE_BUILD)/alol-engine

$(ENGINE_BUILD)/module/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ENGINE_CFLAGS) -fPIC -fvisibility=hidden -Itest/module -c -o $@ $<

$(ENGINE_BUILD)/module/src/engine/device/cpu/%.o: ENGINE_CFLAGS += \
	-ffp-contract=fast -mprefer-vector-width=512

-include $(MODULE_OBJECTS:.o=.d)

check-engine: engine-tests
	@set -e; for test in $(sort $(ENGINE_TESTS)); do \
		echo "# $$test"; OMP_NUM_THREADS=2 $$test; done

# For tools/check, which runs them all and counts.
engine-tests: $(ENGINE_TESTS) $(MODULE) $(ENGINE_BUILD)/alol-engine
test-module: $(MODULE)
list-engine-tests:
	@echo $(sort $(ENGINE_TESTS))

ENGINE_BENCHES = $(patsubst test/bench/%.c,$(ENGINE_BUILD)/bench/%,$(wildcard test/bench/*.c))
engine-bench: $(ENGINE_BENCHES)
$(ENGINE_BUILD)/bench/%: test/bench/%.c $(ENGINE_LIBRARY)
	@mkdir -p $(@D)
	$(CC) $(ENGINE_CFLAGS) -o $@ $< $(ENGINE_LIBRARY) $(ENGINE_LIBS)

include cuda/cuda.mk

# Fuzzers of what reads strangers' bytes, one after the other, FUZZ_SECONDS
# each; FUZZ="gguf frame" names some.  Needs clang and its runtime
# (libclang-rt-*-dev).  What they find lies in build/fuzz.
FUZZ_BUILD = build/fuzz
FUZZ_SECONDS ?= 60
FUZZ ?= $(sort $(patsubst test/fuzz/%_fuzz.c,%,$(wildcard test/fuzz/*_fuzz.c)))
FUZZ_FLAGS = $(filter-out -Werror -fopenmp -O3,$(ENGINE_CFLAGS)) -O1 \
	-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
FUZZ_SOURCES = $(wildcard src/engine/base/*.c src/engine/formats/*.c \
	src/engine/text/*.c src/engine/text/*/*.c src/wire/*.c)
FUZZ_OBJECTS = $(patsubst src/%.c,$(FUZZ_BUILD)/%.o,$(FUZZ_SOURCES))

$(FUZZ_BUILD)/%.o: src/%.c
	@mkdir -p $(@D)
	clang $(FUZZ_FLAGS) -c -o $@ $<

$(FUZZ_BUILD)/%_fuzz: test/fuzz/%_fuzz.c $(FUZZ_OBJECTS)
	clang $(FUZZ_FLAGS) -fsanitize=fuzzer -Itest/fuzz -o $@ $^ \
		-ljansson -lpcre2-8 -lutf8proc -lm

-include $(FUZZ_OBJECTS:.o=.d)

fuzz: $(FUZZ:%=fuzz-%)
fuzz-%: $(FUZZ_BUILD)/%_fuzz
	@mkdir -p $(FUZZ_BUILD)/corpus/$*
	$< -max_total_time=$(FUZZ_SECONDS) -timeout=20 -rss_limit_mb=3000 \
		-artifact_prefix=$(FUZZ_BUILD)/$*- -print_final_stats=1 \
		$(FUZZ_BUILD)/corpus/$* $(wildcard test/fuzz/seeds/$*)

check-server:
	PG_CONFIG='$(PG_CONFIG)' tools/prove test/t/*.pl

# Speed and memory beside PyTorch's; PYTHON=... names one that has torch.
bench:
	PG_CONFIG='$(PG_CONFIG)' test/bench/bench.sh

# TASKS="hha imdb" names some; ROWS is the directory of the raw rows.
bench-tasks:
	PG_CONFIG='$(PG_CONFIG)' ROWS='$(ROWS)' test/bench/tasks.sh $(TASKS)

deps:
	tools/deps

.PHONY: install-engine uninstall-engine check-engine engine-tests test-module \
	engine-bench list-engine-tests check-server bench \
	bench-tasks deps fuzz
