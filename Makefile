# Every developer command.  `make help' lists them.

CARGO ?= cargo
OUT ?= out

.PHONY: help install uninstall demo test lab live student bench bench-train reproduce published policy build dist fmt lint clean setup python
.DEFAULT_GOAL := help

help: ## print this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' Makefile

setup: ## install build dependencies (Debian, Ubuntu; elsewhere list them)
	@scripts/setup.sh

build: setup ## build the programs in target/release
	$(CARGO) build --release --locked

install: ## install below PREFIX (/usr/local) in DESTDIR; settings in SYSCONFDIR
	@PREFIX="$(PREFIX)" SYSCONFDIR="$(SYSCONFDIR)" DESTDIR="$(DESTDIR)" scripts/install.sh

uninstall: ## remove installed files except the configuration
	@PREFIX="$(PREFIX)" SYSCONFDIR="$(SYSCONFDIR)" DESTDIR="$(DESTDIR)" scripts/install.sh uninstall

demo: build ## emulate the published testbed, with a report in out/demo
	./target/release/l4sllm demo --out $(OUT)/demo

test: ## run every check that needs no root, GPU or FreeBSD
	@scripts/setup.sh test
	@scripts/test.sh

lab: setup ## compare the emulator with real packets, and run all drills (root)
	@scripts/setup.sh lab
	$(CARGO) build --release --locked -p l4sllm -p l4sllmd
	./target/release/l4sllm lab compare --out $(OUT)/lab $(OPTIONS)
	./target/release/l4sllm drill malicious
	./target/release/l4sllm drill soak
	./target/release/l4sllm lab drill --malicious
	./target/release/l4sllm lab drill --soak 20min
	./target/release/l4sllm lab drill

live: setup ## show the queue on a web page: a lab as root, otherwise emulated
	$(CARGO) build --release --locked -p l4sllm
	@scripts/live.sh $(OPTIONS)

student: setup ## distil policies/context into a student of the kernel, and compare both
	$(CARGO) build --release --locked -p l4sllm
	@OUT="$(OUT)" scripts/student.sh

reproduce: setup ## train on the published pool and report scores: make reproduce POOL=file
	@[ -n "$(POOL)" ] || { echo "POOL=file: the published pool, as CSV, Parquet or JSON"; exit 2; }
	@scripts/libtorch.sh
	$(CARGO) build --release --locked --package l4sllm --features torch
	"$${CARGO_TARGET_DIR:-target}/release/l4sllm" reproduce "$(POOL)" --out $(OUT)/reproduce

published: setup ## train the published backbones, draw figures: make published POOL=file [OPTIONS=...]
	@[ -n "$(POOL)" ] || { echo "POOL=file: the published pool, as CSV, Parquet or JSON"; exit 2; }
	@scripts/libtorch.sh
	$(CARGO) build --release --locked --package l4sllm --features torch
	"$${CARGO_TARGET_DIR:-target}/release/l4sllm" published "$(POOL)" --out $(OUT)/published $(OPTIONS)

bench: setup ## measure speed, as ratios within one run
	$(CARGO) build --release --locked -p l4sllm -p l4sllmd --features l4sllm/remote,l4sllmd/remote
	@scripts/bench.sh

bench-train: setup ## compare training throughput with Python (PYTHON=one with transformers, peft)
	@scripts/bench-train.sh

python: setup ## build the Python package in target/python/wheels and test it (PyPI)
	@scripts/python.sh
	@scripts/python.sh wheel

policy: setup ## train policies/default again from new pools
	@scripts/policy.sh

dist: ## make the release tarball for the ports
	@scripts/dist.sh

fmt: ## run rustfmt
	$(CARGO) fmt --all

lint: setup ## run clippy and check formatting
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

clean: ## remove build and output files except .libtorch and .freebsd
	$(CARGO) clean
	$(MAKE) -C tests/kmod clean
	$(MAKE) -C tests/fuzz clean
	rm -rf $(OUT)
