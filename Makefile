# What there is to do with this project. `make` alone lists it.
#
# PROFILE=release makes `run` fast at run time and slow to build; the default shares its build with the tests.
# CARGO_FLAGS is added to every cargo command, for example CARGO_FLAGS=--locked.

PROFILE ?= dev
CARGO_FLAGS ?=
PROPTEST_CASES ?= 20000
# The same for tests whose cases are long histories, or build tables, which take milliseconds each.
PROPTEST_LONG_CASES ?= 1000
long_proptests = executor::tests::histories::no_history_stops_a_member_with_requests queue::tests::nobody_is_lost_or_overtaken \
	select::tests::picks_the_usable a_step_of_the_load_is_followed_in_few_steps the_number_rests_while_the_load_does \
	whatever_the_load_does
# Mutated management URLs for each way to the nodes, in `verify`.
CORPUS ?= 100000
export FUZZ_SECONDS ?= 60

# More arguments of benches/load/run, for example: make bench-quick BENCH="--binary target/release/carbon-elb --rounds 6"
BENCH ?=

# Which further balancers `bench-peers` installs; none named: all.
PEERS ?=

# Arguments of the demo, for example: make run DEMO="--public 127.0.0.1:8080"
DEMO ?=

conf_files = $(shell find conf -type f \( -name '*.yaml' -o -name '*.yml' \) 2>/dev/null | sort)

.DEFAULT_GOAL := help
.PHONY: help setup run test check-conf fmt fmt-check lint doc bench bench-quick bench-peers bench-scale bench-check bench-micro cost \
	release-pgo image tomcat-image cluster cluster-dual cluster-down container-tests validate-kubernetes verify verify-tests boundary-table \
	fleet scale deny fuzz clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what building and testing need (Debian packages)
	tools/setup build test

run: ## build, and start a whole cluster with the balancer in one process
	@tools/setup build
	cargo run $(CARGO_FLAGS) --profile $(PROFILE) -- demo $(DEMO)

test: ## run every test but those of the container
	@tools/setup build test
	cargo test $(CARGO_FLAGS) --no-fail-fast

check-conf: ## run `carbon-elb check` on every file in conf/
	@test -n "$(conf_files)" || { echo 'conf/ holds no YAML file' >&2; exit 1; }
	@# conf/scale.yaml wants a token from the environment.
	CARBON_ELB_SCALE_TOKEN=$${CARBON_ELB_SCALE_TOKEN:-a-token-that-only-this-check-sees} \
		cargo run -q $(CARGO_FLAGS) --profile $(PROFILE) -- check $(conf_files)

fmt: ## format the sources
	cargo fmt
	cargo fmt --manifest-path fuzz/Cargo.toml

fmt-check: ## fail if `make fmt` would change something
	cargo fmt --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check

lint: ## clippy on everything, warnings are errors
	cargo clippy $(CARGO_FLAGS) --all-targets -- -D warnings

doc: ## build the documentation, warnings are errors
	RUSTDOCFLAGS='-D warnings' cargo doc $(CARGO_FLAGS) --no-deps

bench: ## measure against HAProxy, nginx and what `bench-peers` installed: all scenarios, into benches/RESULTS.md (over an hour)
	@tools/setup build bench
	benches/load/run $(BENCH)

bench-quick: ## the same in under three minutes: two scenarios, against HAProxy, nothing written
	@tools/setup build bench
	benches/load/run --quick $(BENCH)

bench-scale: ## measure what much of everything costs, with a release binary that is there, into benches/SCALE-COST.md
	@tools/setup bench
	benches/load/scale $(BENCH)

bench-peers: ## install Envoy, Traefik, Caddy, pingap and Zentinel for `bench` (about half an hour; PEERS="envoy caddy": only these)
	@tools/setup build bench-peers
	benches/load/peers-install $(PEERS)

bench-check: ## check how the load test reads the outputs of its tools (measures nothing)
	benches/load/run --self-check
	benches/load/scale --self-check

bench-micro: ## run the benchmarks of single parts (cargo bench)
	@tools/setup build
	cargo bench $(CARGO_FLAGS)

cost: ## count what a request costs, with a release binary that is there, and hold it to benches/cost/ceiling
	@tools/setup cost
	tools/cost

release-pgo: ## build one static file, optimized by a profile of the load test: target/pgo/carbon-elb (20 minutes)
	@tools/setup build bench pgo
	tools/release-pgo

image: ## build the container image, without a registry
	@tools/setup build container
	tools/image

tomcat-image: ## build the image of a Tomcat node from Debian packages, without a registry
	@tools/setup container
	tools/tomcat-image

cluster: ## start manager, three workers and the balancer as containers
	tools/cluster up

cluster-dual: ## the same in dual mode, with two balancers
	tools/cluster up dual

cluster-down: ## stop what `cluster` or `cluster-dual` started
	tools/cluster down

container-tests: ## test the image and the cluster on the local Docker Engine
	@tools/setup build container
	tools/container-tests

validate-kubernetes: ## check docker/kubernetes/ against the schemas of Kubernetes
	tools/validate-kubernetes

deny: ## licences, sources and versions of the dependencies
	@command -v cargo-deny >/dev/null || cargo install --locked cargo-deny
	cargo deny --all-features check bans licenses sources

fuzz: ## run each fuzz target for FUZZ_SECONDS (60)
	@tools/setup build
	tools/fuzz

boundary-table: ## the management boundary behind other balancers, as the table in README.md
	@tools/setup build test bench
	cargo bench $(CARGO_FLAGS) --profile dev --bench boundary

fleet: ## simulate fleets under each balancing algorithm: the tables in benches/FLEET.md
	@tools/setup build
	cargo bench $(CARGO_FLAGS) --profile dev --bench fleet

scale: ## simulate the autoscaler on ten traces, against other rules: the table in benches/SCALE.md
	@tools/setup build
	cargo bench $(CARGO_FLAGS) --profile dev --bench scale

verify-tests: ## property tests with many cases, the whole corpus of the boundary, and all other tests
	PROPTEST_CASES=$(PROPTEST_LONG_CASES) cargo test $(CARGO_FLAGS) --lib --test autoscale -- --exact $(long_proptests)
	PROPTEST_CASES=$(PROPTEST_CASES) CARBON_ELB_CORPUS=$(CORPUS) cargo test $(CARGO_FLAGS) -- $(addprefix --skip ,$(long_proptests))

verify: deny fuzz verify-tests ## what takes long: dependencies, fuzzing, and the tests with many cases

clean: ## remove what was built
	cargo clean
