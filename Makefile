# One profile for everything, so that one target folder serves the demo, the tests and the smoke run.
PROFILE ?= release
BIN := target/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
CARGO_PROFILE := --profile $(PROFILE)

.DEFAULT_GOAL := help

.PHONY: help
help: ## List all targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## Build and run the gateway, both services and a backend on this machine.
	@scripts/require.sh cargo python3
	@cargo build $(CARGO_PROFILE)
	@exec $(BIN)/gateway-ctl run --config docs/examples/quickstart --echo 127.0.0.1:9080

.PHONY: test
test: tools bins ## Install what the tests need, then run all of them.
	@scripts/test.sh $(CARGO_PROFILE)

.PHONY: test-browser
test-browser: browser-tools bins ## A real Chromium logs in with a real Keycloak, and looks at the pages of gateway-ctl; pictures in target/pictures.
	@cargo test $(CARGO_PROFILE) --workspace --test login --test pages

.PHONY: smoke
smoke: tools bins ## Run the demo, make its requests, show each status and why.
	@$(BIN)/smoke

.PHONY: bench
bench: tools ## Compare speed with a bare RLS server and, when Go is here, with envoyproxy/ratelimit.
	@scripts/bench.sh

.PHONY: bench-authz
bench-authz: ## Compare the authorization service's speed with an empty one and, when it is here, OPA-Envoy.
	@scripts/require.sh cargo python3
	@scripts/bench-authz.sh

.PHONY: bench-gateway
bench-gateway: tools ## What many Mappings cost the controller and Envoy, and how soon a change is live.
	@scripts/bench.sh controller

.PHONY: images
images: ## Build the container images into target/images, without a registry.
	@scripts/images.sh

.PHONY: test-cluster
test-cluster: ## The whole product in a real cluster of one node: install, use, kill each part. Needs root.
	@cargo build --release
	@IMAGES=1 scripts/test-cluster.sh

.PHONY: lint
lint: ## Formatting, lints, the direction of dependencies, licences.
	@scripts/require.sh cargo python3
	@cargo fmt --all --check
	@cargo clippy -q --workspace --all-targets -- -D warnings
	@scripts/check-dependencies.sh

.PHONY: docs
docs: ## Build the documentation's site into target/docs.
	@scripts/require.sh python3
	@scripts/docs.sh

.PHONY: charts
charts: ## Test the Helm charts.
	@scripts/require.sh python3
	@scripts/test-charts.sh

.PHONY: fmt
fmt: ## Format the code.
	@cargo fmt --all

.PHONY: crds
crds: ## Write the CustomResourceDefinitions and the field reference anew.
	@cargo run -q $(CARGO_PROFILE) -p gateway-ctl -- crds --output-dir deploy/charts/tollgate-crds/files
	@cargo run -q $(CARGO_PROFILE) -p gateway-ctl -- crds --reference --output-dir docs/reference

.PHONY: bins
bins: ## Build all programs.
	@cargo build $(CARGO_PROFILE) --workspace --bins

.PHONY: tools
tools: ## Install what the tests run against: Envoy, redis-server, libfaketime, kube-apiserver.
	@scripts/require.sh cargo python3
	@scripts/install-test-tools.sh

.PHONY: browser-tools
browser-tools: tools ## Install what the tests with a browser need: Chromium, Keycloak.
	@scripts/install-browser-tools.sh
