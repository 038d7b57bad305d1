# Every developer command.  `make help' lists them.

CARGO ?= cargo
OUT ?= out

.PHONY: help install uninstall demo test bench bench-train reproduce published policy build dist fmt lint clean setup
.DEFAULT_GOAL := help

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' Makefile

setup: ## install what the build needs (Debian, Ubuntu; elsewhere say what)
	@scripts/setup.sh

build: setup ## the programs, in target/release
	$(CARGO) build --release --locked

install: ## what was built, below PREFIX (/usr/local) in DESTDIR; settings in SYSCONFDIR
	@PREFIX="$(PREFIX)" SYSCONFDIR="$(SYSCONFDIR)" DESTDIR="$(DESTDIR)" scripts/install.sh

uninstall: ## remove it again; the configuration stays
	@PREFIX="$(PREFIX)" SYSCONFDIR="$(SYSCONFDIR)" DESTDIR="$(DESTDIR)" scripts/install.sh uninstall

demo: build ## the main job: the published testbed, emulated, into out/demo
	./target/release/l4sllm demo --out $(OUT)/demo

test: ## every check that needs no root, GPU or FreeBSD
	@scripts/setup.sh test
	@scripts/test.sh

reproduce: setup ## learn the published pool and tell how well: make reproduce POOL=file
	@[ -n "$(POOL)" ] || { echo "POOL=file: the published pool, as CSV, Parquet or JSON"; exit 2; }
	@scripts/libtorch.sh
	$(CARGO) build --release --locked --package l4sllm --features torch
	"$${CARGO_TARGET_DIR:-target}/release/l4sllm" reproduce "$(POOL)" --out $(OUT)/reproduce

published: setup ## train the published backbones, draw figures: make published POOL=file [OPTIONS=...]
	@[ -n "$(POOL)" ] || { echo "POOL=file: the published pool, as CSV, Parquet or JSON"; exit 2; }
	@scripts/libtorch.sh
	$(CARGO) build --release --locked --package l4sllm --features torch
	"$${CARGO_TARGET_DIR:-target}/release/l4sllm" published "$(POOL)" --out $(OUT)/published $(OPTIONS)

bench: build ## speed, as ratios measured in one run
	@scripts/bench.sh

bench-train: setup ## training throughput next to Python's (PYTHON=one with transformers and peft)
	@scripts/bench-train.sh

policy: setup ## train policies/default again from new pools
	@scripts/policy.sh

dist: ## the release tarball that the ports fetch
	@scripts/dist.sh

fmt: ## rustfmt
	$(CARGO) fmt --all

lint: setup ## clippy and rustfmt
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

clean: ## what was built and written; .libtorch and .freebsd stay
	$(CARGO) clean
	$(MAKE) -C tests/kmod clean
	$(MAKE) -C tests/fuzz clean
	rm -rf $(OUT)
