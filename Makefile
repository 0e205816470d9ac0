# vise: one non-recursive Makefile. `make help` lists the targets.
#
# A folder is a room: its *.c go into libvise.a (cli/*.c into the program). Everything that is built lies under
# build/<conf>/, where conf names the flavour (release, asan, fuzz), so that flavours never mix.
#
#   make CONF=asan test-unit        the unit tests with sanitizers
#   make test-unit T=test_json      one test program
#   make CONF=mine ...              a private build beside the others
#   make ROOMS='core tensor' ...    a part of the library, while another room is being rebuilt
#
# CFLAGS, CPPFLAGS and LDFLAGS are the user's; what the code needs in order to be right is kept apart from them.

CONF    ?= release
CFLAGS  ?= -O2 -g
PREFIX  ?= /usr/local
DESTDIR ?=
ROOMS   ?= core tensor compute formats text model eval pipeline convert quant prune distill

B := build/$(CONF)

# -ffp-contract=off: a product and a sum are fused only where the code says fmaf, so that all CPU levels agree.
LANGUAGE := -std=c17 -D_GNU_SOURCE -fno-math-errno -ffp-contract=off -I.
WARNINGS := -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wvla $(if $(WERROR),-Werror)
LIBS     := -lcjson -lzstd -lutf8proc -lpcre2-8 -lm -lpthread -ldl

SANITIZE_release :=
SANITIZE_asan    := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
SANITIZE_fuzz    := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
SANITIZE         := $(SANITIZE_$(CONF))

COMPILE = $(CC) $(CPPFLAGS) $(CFLAGS) $(LANGUAGE) $(WARNINGS) $(SANITIZE)
LINK    = $(CC) $(CFLAGS) $(SANITIZE) $(LDFLAGS)

ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-5s %s\n'
endif

LIB     := $(B)/libvise.a
VISE    := $(if $(filter release,$(CONF)),build/vise,$(B)/vise)

lib_src   := $(sort $(foreach room,$(ROOMS),$(wildcard $(room)/*.c)))
cli_src   := $(sort $(wildcard cli/*.c))
unit_src  := $(sort $(wildcard tests/unit/test_*.c))
fuzz_src  := $(sort $(wildcard tests/fuzz/fuzz_*.c))
bench_src := $(sort $(wildcard bench/bench_*.c))
tool_src  := $(sort $(wildcard tests/tools/*.c))
headers   := $(sort $(wildcard core/*.h tensor/*.h compute/*.h formats/*.h text/*.h model/*.h eval/*.h pipeline/*.h \
                               convert/*.h quant/*.h prune/*.h distill/*.h cli/*.h tests/*.h tests/unit/*.h bench/*.h))

lib_obj := $(lib_src:%.c=$(B)/%.o)
cli_obj := $(cli_src:%.c=$(B)/%.o)
# T='test_json replay_json ...' picks test programs and scripts by name.
picked  = $(if $(T),$(filter $(addprefix %/,$(T) $(T:=.sh)),$(1)),$(1))
units   := $(call picked,$(unit_src:tests/unit/%.c=$(B)/%))
replays := $(call picked,$(fuzz_src:tests/fuzz/fuzz_%.c=$(B)/replay_%))
scripts := $(call picked,$(sort $(wildcard tests/cli/*.sh)))
fuzzers := $(fuzz_src:tests/fuzz/%.c=$(B)/%)
benches := $(bench_src:bench/%.c=$(B)/%)
# What the command-line tests need beside vise: small programs, and libraries that are preloaded into it.
tools   := $(patsubst tests/tools/%.c,$(B)/tools/%,$(filter-out tests/tools/preload_%,$(tool_src))) \
           $(patsubst tests/tools/%.c,$(B)/tools/%.so,$(filter tests/tools/preload_%,$(tool_src)))
# Helpers that several test or bench programs share: tests/unit/*.c and bench/*.c that are no programs themselves.
unit_help_obj  := $(patsubst %.c,$(B)/%.o,$(filter-out $(unit_src),$(sort $(wildcard tests/unit/*.c))))
bench_help_obj := $(patsubst %.c,$(B)/%.o,$(filter-out $(bench_src),$(sort $(wildcard bench/*.c))))

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:
FORCE:
.PHONY: FORCE help all lib deps test test-all test-unit test-cli test-large demo demo-run asan fuzz fuzz-run fuzz-replay deps-check \
        lint headers-check benches interop interop-peers fmt install uninstall clean

## help: list the targets
help:
	@sed -n 's/^## \([a-z*-]*\): \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{ printf "  %-16s %s\n", $$1, $$2 }'

# ---- the program and the library ------------------------------------------------------------------------------------

## all: build build/vise (the default)
all: $(VISE)

## lib: build build/<conf>/libvise.a
lib: $(LIB)

# A stamp is rewritten only when its text changes: the flags, and the list of objects (a deleted source must leave the
# archive), rebuild what depends on them; the commit rebuilds one file.
stamp = @mkdir -p $(@D); printf '%s\n' "$(1)" | cmp -s - $@ || printf '%s\n' "$(1)" > $@
$(B)/flags.txt: FORCE
	$(call stamp,$(COMPILE) $(LDFLAGS))
$(B)/objects.txt: FORCE
	$(call stamp,$(lib_obj))
$(B)/commit.txt: FORCE
	$(call stamp,$(shell git describe --always --dirty --abbrev=12 --exclude='*' 2>/dev/null || echo unknown))

$(B)/core/version.o: private CPPFLAGS += -DVISE_COMMIT='"$(shell cat $(B)/commit.txt 2>/dev/null)"'
$(B)/core/version.o: $(B)/commit.txt

$(B)/%.o: %.c $(B)/flags.txt
	$(say) CC $<
	@mkdir -p $(@D)
	$(Q)$(COMPILE) -MMD -MP -c $< -o $@

$(LIB): $(lib_obj) $(B)/objects.txt
	$(say) AR $@
	@rm -f $@
	$(Q)$(AR) rcs $@ $(lib_obj)

$(VISE): $(cli_obj) $(LIB)
	$(say) LINK $@
	$(Q)$(LINK) $(cli_obj) $(LIB) $(LIBS) -o $@

# ---- dependencies, demo and tests -----------------------------------------------------------------------------------

# The README's two commands must work on a bare machine, so they first see to the compiler and the libraries. This is the
# only recursion: the build proper starts when its tools are there.
jobs   = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))
bootstrap = @tools/ensure-deps.sh && $(MAKE) --no-print-directory $(jobs)

## deps: install what is missing (Debian, as root), or say what to install
deps:
	@tools/ensure-deps.sh --verbose

## demo: compress the bundled model, print the summary and the path of the report
demo:
	$(bootstrap) demo-run
demo-run: $(VISE)
	$(VISE) run examples/demo.json -o build/demo --force

## test: everything that must pass before a merge (T='name ...' picks test programs)
test:
	$(bootstrap) test-all
test-all: deps-check lint headers-check $(VISE) $(units) $(replays) $(tools)
	@VISE=$(VISE) BUILD=$(B) CONF=$(CONF) tests/run.sh $(units) $(replays) $(scripts)

## test-unit: the unit tests alone
test-unit: $(units)
	@VISE=$(VISE) BUILD=$(B) CONF=$(CONF) tests/run.sh $(units)

## test-cli: the command-line tests alone
test-cli: $(VISE) $(tools)
	@VISE=$(VISE) BUILD=$(B) CONF=$(CONF) tests/run.sh $(scripts)

## test-large: a model of 4 GB evaluated and quantized under a memory bound (10 GB of disk, minutes; not part of test)
test-large: $(VISE) $(tools)
	@VISE=$(VISE) BUILD=$(B) CONF=$(CONF) tests/large.sh

## fuzz-replay: run every fuzz target over its corpus, truncations and byte flips of it (no clang needed)
fuzz-replay: $(replays)
	@VISE=$(VISE) BUILD=$(B) CONF=$(CONF) tests/run.sh $(replays)

## asan: unit, fuzz-replay and command-line tests under the address and undefined-behaviour sanitizers
asan:
	$(bootstrap) CONF=asan CFLAGS='-O1 -g' test-all

## fuzz: short libFuzzer runs of every fuzz target (needs clang; FUZZ_SECONDS=60)
FUZZ_SECONDS ?= 60
fuzz:
	@command -v clang >/dev/null || { echo "make fuzz needs clang (Debian: clang, libclang-rt-dev)"; exit 1; }
	$(bootstrap) CONF=fuzz CC=clang CFLAGS='-O1 -g' fuzz-run
fuzz-run: $(fuzzers)
	@for f in $(fuzzers); do name=$${f##*/fuzz_}; mkdir -p $(B)/corpus/$$name; echo "fuzz $$name"; \
	    $$f -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=1024 -print_final_stats=1 \
	        -artifact_prefix=$(B)/ $(B)/corpus/$$name tests/fuzz/corpus/$$name || exit 1; done

$(B)/test_%: $(B)/tests/unit/test_%.o $(unit_help_obj) $(LIB)
	$(say) LINK $@
	$(Q)$(LINK) $< $(unit_help_obj) $(LIB) -lcmocka $(LIBS) -o $@

$(B)/replay_%: $(B)/tests/fuzz/fuzz_%.o $(B)/tests/fuzz/replay_main.o $(LIB)
	$(say) LINK $@
	$(Q)$(LINK) $< $(B)/tests/fuzz/replay_main.o $(LIB) $(LIBS) -o $@

$(B)/fuzz_%: $(B)/tests/fuzz/fuzz_%.o $(LIB)
	$(say) LINK $@
	$(Q)$(LINK) -fsanitize=fuzzer $< $(LIB) $(LIBS) -o $@

$(B)/tools/%: $(B)/tests/tools/%.o $(LIB)
	$(say) LINK $@
	@mkdir -p $(@D)
	$(Q)$(LINK) $< $(LIB) $(LIBS) -o $@

# Never sanitized: it is loaded in front of the sanitizers' own libraries.
$(B)/tools/%.so: tests/tools/%.c
	$(say) LINK $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(LANGUAGE) $(WARNINGS) -fPIC -shared $< $(LDFLAGS) -ldl -o $@

# ---- checks ---------------------------------------------------------------------------------------------------------

## deps-check: a folder includes only the folders that deps.allow grants it
deps-check:
	@tools/deps-check.sh

## lint: banned functions, long lines, long files
lint:
	@tools/lint.sh

## headers-check: every header compiles alone
headers-check: $(headers:%=$(B)/headers/%.ok)
$(B)/headers/%.ok: % $(B)/flags.txt
	@mkdir -p $(@D)
	$(Q)$(COMPILE) -x c -fsyntax-only -MMD -MP -MT $@ -MF $(@:.ok=.d) -include $< /dev/null
	@touch $@

## fmt: format the sources (needs clang-format)
fmt:
	clang-format -i $(lib_src) $(cli_src) $(headers) $(unit_src) $(fuzz_src) $(bench_src) $(tool_src)

# ---- benchmarks and the peers ---------------------------------------------------------------------------------------

$(B)/bench_%: $(B)/bench/bench_%.o $(bench_help_obj) $(LIB)
	$(say) LINK $@
	$(Q)$(LINK) $< $(bench_help_obj) $(LIB) $(LIBS) -o $@

## benches: build every benchmark
benches: $(benches)

## bench-*: build and run bench/bench_*.sh or bench/bench_*.c, for example make bench-rtn
bench-%: FORCE $(VISE) benches $(tools)
	@name=$$(printf '%s' '$*' | tr - _); \
	if [ -f bench/bench_$$name.sh ]; then VISE=$(VISE) BUILD=$(B) bash bench/bench_$$name.sh $(ARGS); \
	elif [ -x $(B)/bench_$$name ]; then $(B)/bench_$$name $(ARGS); \
	else echo "no benchmark $$name; there are:" \
	    $(sort $(patsubst bench/bench_%.c,%,$(bench_src)) $(patsubst bench/bench_%.sh,%,$(wildcard bench/bench_*.sh))); \
	    exit 1; fi

## interop: our files in transformers, compressed-tensors and safetensors, theirs in vise (one virtual environment)
interop: $(VISE)
	@VISE=$(VISE) BUILD=$(B) bash tests/interop/run.sh

## interop-peers: quality and speed beside the heavy peers, outside CI
interop-peers: $(VISE)
	@VISE=$(VISE) BUILD=$(B) bash tests/interop/run-peers.sh

# ---- installation ---------------------------------------------------------------------------------------------------

LINKS := vise-convert vise-quant vise-prune vise-distill

# The man page and the completion are made by the program itself, from the tables that its help is made from.
MAN        := $(PREFIX)/share/man/man1
COMPLETION := $(PREFIX)/share/bash-completion/completions

## install: install vise, its links, man page and completion below PREFIX (/usr/local); DESTDIR is honoured
install: $(VISE)
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(VISE) $(DESTDIR)$(PREFIX)/bin/vise
	for link in $(LINKS); do ln -sf vise $(DESTDIR)$(PREFIX)/bin/$$link; done
	install -d $(DESTDIR)$(MAN) $(DESTDIR)$(COMPLETION)
	$(VISE) help --man > $(DESTDIR)$(MAN)/vise.1
	$(VISE) help --completion > $(DESTDIR)$(COMPLETION)/vise
	chmod 644 $(DESTDIR)$(MAN)/vise.1 $(DESTDIR)$(COMPLETION)/vise
	for link in $(LINKS); do ln -sf vise $(DESTDIR)$(COMPLETION)/$$link; done

## uninstall: remove what install put there
uninstall:
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/bin/,vise $(LINKS)) $(DESTDIR)$(MAN)/vise.1
	rm -f $(addprefix $(DESTDIR)$(COMPLETION)/,vise $(LINKS))

## clean: remove what was built
clean:
	rm -rf build/release build/asan build/fuzz build/vise build/demo

-include $(shell find $(B) -name '*.d' 2>/dev/null)
