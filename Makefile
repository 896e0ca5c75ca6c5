# Building, testing and installing rruntime. `make help` lists what there is.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := all

PREFIX ?= /usr/local
DESTDIR ?=
CARGO ?= cargo
FUZZ_SECONDS ?= 60

# rustup puts cargo there, and tells login shells only.
export PATH := $(PATH):$(HOME)/.cargo/bin

target := $(or $(CARGO_TARGET_DIR),target)
# cargo builds for a named target (.cargo/config.toml), into a folder of its name; this is the name to rely on.
binary := $(target)/release/rruntime
bundles := $(patsubst bundles/%/config.json,%,$(wildcard bundles/*/config.json))
sudo := $(if $(filter 0,$(shell id -u)),,sudo)

# Debian's names. libc6-dev has the static libc, and libseccomp is the oracle of our compiler's tests.
build_packages := gcc libc6-dev
demo_packages := busybox-static
test_packages := busybox-static crun iproute2 libseccomp-dev pkg-config procps python3 runc strace uidmap util-linux
bench_packages := busybox-static crun libseccomp-dev python3 runc strace
vm_packages := busybox-static cpio debootstrap e2fsprogs kmod python3 xz-utils zstd

.PHONY: all help build-tools demo bundles test lint format bench install uninstall deb test-deb clean fuzz test-vm test-engines conformance

all: ## build the release binary, target/release/rruntime
all: build-tools
	$(CARGO) build --release --locked --bin rruntime
	mkdir -p $(dir $(binary))
	ln -f $(target)/$$(rustc -vV | sed -n 's/^host: //p')/release/rruntime $(binary)

help: ## this list
	@sed -n 's/^\([a-z-]*\): ## /\1\t/p' Makefile | expand -t 16

build-tools:
	@.ci/packages $(build_packages)
	@.ci/toolchain

$(binary):
	$(MAKE) all

demo: ## build, and run a first container (installs what is missing)
demo: all bundles
	$(sudo) $(binary) run -b ./bundles/hello demo

bundles: ## make the example bundles' root file systems
	@.ci/packages $(demo_packages)
	for bundle in $(bundles); do bundles/rootfs bundles/$$bundle; done

test: ## all tests, as root (installs what is missing)
test: build-tools
	@.ci/packages $(test_packages)
	tests/all

lint: ## formatting, clippy, and what may be depended on
lint: build-tools
	@.ci/packages libseccomp-dev pkg-config python3
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	.ci/deny

format: ## format the code
	$(CARGO) fmt

bench: ## compare with the kernel's floor, crun and runc, as root
bench: all bundles
	@.ci/packages $(bench_packages)
	benches/table.py $(abspath $(binary))
	$(CARGO) bench --locked --bench compilers

install: ## install the binary, man pages and completions (PREFIX=, DESTDIR=)
install: $(binary)
	install -D -m 755 $(binary) $(DESTDIR)$(PREFIX)/bin/rruntime
	for page in man/*.8; do install -D -m 644 -t $(DESTDIR)$(PREFIX)/share/man/man8 $$page; done
	install -D -m 644 completions/rruntime.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/rruntime
	install -D -m 644 completions/_rruntime $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_rruntime
	install -D -m 644 completions/rruntime.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/rruntime.fish

uninstall: ## remove what install has put there
	rm -f $(addprefix $(DESTDIR)$(PREFIX)/,bin/rruntime share/man/man8/rruntime*.8 \
		share/bash-completion/completions/rruntime share/zsh/site-functions/_rruntime \
		share/fish/vendor_completions.d/rruntime.fish)

deb: ## a Debian package, target/rruntime_VERSION_ARCH.deb
deb: all
	packaging/deb $(binary) $(target)

test-deb: ## install that package on a copy of this machine, use it by podman, remove it, as root
test-deb: deb
	@.ci/packages busybox-static podman python3
	packaging/test $$(ls -t $(target)/rruntime_*.deb | head -n 1)

fuzz: ## a short run of every fuzz target (FUZZ_SECONDS= each)
fuzz: build-tools
	@.ci/packages g++
	.ci/fuzz $(FUZZ_SECONDS)

test-vm: ## tests in virtual machines: systemd with cgroup v2, v1 and both, AppArmor, SELinux (MACHINES= some of them)
test-vm: all
	@.ci/packages $(vm_packages)
	integration/vm/suite $(MACHINES)

test-engines: ## the scenarios beneath Debian 12's engines, and the newest Debian's, as root
test-engines: all
	integration/engines/run --jobs 2
	integration/engines/run --jobs 2 --debian newest

conformance: ## the OCI's own suite, from a built checkout (RUNTIME_TOOLS=DIR)
conformance: all
	integration/conformance/run "$(or $(RUNTIME_TOOLS),$(error say where the built runtime-tools are: RUNTIME_TOOLS=DIR))"

clean: ## remove what was built
	$(CARGO) clean
	for bundle in $(bundles); do rm -rf "bundles/$$bundle/rootfs"; done
