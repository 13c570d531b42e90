# snug: the two commands are `make run` and `make test`. The work is in scripts/ and xtask/; this page only names it.

.PHONY: help run test build bench fmt

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

run: export PORT := $(PORT)
run: export HOST := $(HOST)
run: ## Get what is needed, build, start snug and ask it something (PORT=8787, HOST=127.0.0.1)
	@scripts/run

test: ## Get what is needed and check everything: style, lints, licences, tests
	@scripts/setup test
	@PATH="$$PATH:$$HOME/.cargo/bin" cargo xtask check

build: ## Build the release program, target/release/snug
	@scripts/setup run
	@PATH="$$PATH:$$HOME/.cargo/bin" cargo build --release --package cli

bench: ## Measure the gateway beside nginx
	@scripts/setup bench
	@PATH="$$PATH:$$HOME/.cargo/bin" cargo xtask bench gateway

fmt: ## Format the code
	@PATH="$$PATH:$$HOME/.cargo/bin" cargo fmt --all
