# What to make:
#   make run     build, make a demo store and mount it; may be run again at any time
#   make build   bin/coffer
#   make test    every check that a change must pass; under 20 minutes on 2 cores
#   make soak    the same suites at full length: crashes, random operations, applications; some hours
#   make bench   speed, memory and size beside cp, a loopback mount, restic and borg

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
GO          ?= go
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

RUN_PACKAGES   := fuse3
TEST_PACKAGES  := fuse3 iproute2 util-linux tcpdump e2fsprogs strace postgresql-15 attr acl rsync gcc libc6-dev git sqlite3 stress-ng fio openssh-client
BENCH_PACKAGES := fuse3 restic borgbackup rsync iproute2 openssh-sftp-server

DEMO ?= $(HOME)/coffer-demo

# Mounts of loop devices, other users' processes and caches to drop need root.
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo -E env PATH=$(PATH))

# $(call install,PACKAGES) installs those that are missing, as root or through sudo.
define install
@missing=; for p in $(1); do \
	dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; \
done; \
if [ -n "$$missing" ]; then \
	echo "installing:$$missing"; \
	root=; [ "$$(id -u)" = 0 ] || root=sudo; \
	$$root apt-get update -qq; \
	DEBIAN_FRONTEND=noninteractive $$root apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
fi
endef

.PHONY: run build test lint soak bench clean

build:
	$(GO) build -o bin/coffer ./cmd/coffer

run:
	$(call install,$(RUN_PACKAGES))
	@$(MAKE) --no-print-directory build
	@stat $(DEMO)/mnt >/dev/null 2>&1 || fusermount3 -uz $(DEMO)/mnt 2>/dev/null || mkdir -p $(DEMO)/mnt
	@[ -e $(DEMO)/store/coffer.store ] || bin/coffer init $(DEMO)/store
	@if mountpoint -q $(DEMO)/mnt; then echo "$(DEMO)/mnt is mounted already"; \
	 else bin/coffer mount $(DEMO)/store $(DEMO)/mnt; fi
	@printf '%s\n' '' \
		'The store $(DEMO)/store is mounted at $(DEMO)/mnt. Now:' \
		'  cp -a ~/Documents $(DEMO)/mnt/      copy files in; that is the backup' \
		'  bin/coffer status                   what is where, and what is still on its way' \
		'  bin/coffer sync $(DEMO)/mnt         wait until all of it is on stable storage' \
		'  bin/coffer umount $(DEMO)/mnt       seal the archive and unmount' \
		'  make run                            mount it again: all of it is there'

lint:
	@unformatted=$$(gofmt -l cmd chunkfmt fusefs index media pipeline test); \
	[ -z "$$unformatted" ] || { echo "not gofmt'ed: $$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

test:
	$(call install,$(TEST_PACKAGES))
	@$(MAKE) --no-print-directory lint
	$(GO) test -race -timeout 15m $$($(GO) list ./... | grep -v '^coffer/test/')
	$(AS_ROOT) $(GO) test -p 1 -count 1 -timeout 15m ./test/...

soak:
	$(call install,$(TEST_PACKAGES))
	COFFER_CHECKS=1000 $(GO) test -race -count 1 -timeout 6h ./fusefs/... ./pipeline/...
	COFFER_KILLS=200 COFFER_POWER_CUTS=50 COFFER_KEY_KILLS=300 \
	COFFER_NET_FAULTS=200 COFFER_SPOOL_KILLS=200 COFFER_NET_HOLE=30000 \
	COFFER_ARCHIVES=200 COFFER_PRUNE_KILLS=100 COFFER_MANY_ARCHIVES=1000 COFFER_MANY_FILES=100000 \
	COFFER_WHOLE_TREE=1 COFFER_FILES=3000000 COFFER_ENTRIES=1000000 \
	COFFER_FSX_OPS=1000000 COFFER_CROWD_OPS=250000 \
	COFFER_PG_KILLS=10 COFFER_PG_SCALE=10 COFFER_SQLITE_ROWS=100000 COFFER_GIT_COMMITS=10000 COFFER_BUILD_ALL=1 \
	COFFER_STRESS_SECONDS=300 COFFER_FIO_MIB=256 \
	$(AS_ROOT) $(GO) test -p 1 -count 1 -timeout 6h -v ./test/...

bench:
	$(call install,$(BENCH_PACKAGES))
	@$(MAKE) --no-print-directory build
	$(AS_ROOT) $(GO) run ./test/bench -coffer bin/coffer

clean:
	rm -rf bin
