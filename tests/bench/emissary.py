#!/usr/bin/env python3
"""What one changed Mapping costs Emissary's compiler, and gateway-ctl, on the same resources.

    pip install orjson pyyaml requests flask expiringdict durationpy semantic-version \\
        prometheus-client click jsonpatch
    tests/bench/emissary.py CHECKOUT --gateway-ctl target/release/gateway-ctl --envoy ENVOY

CHECKOUT is a checkout of Emissary 4, which is no part of this project. Its compiler runs in this process, as
its daemon runs it for each change: the whole snapshot is read, compiled, and written as text. What the daemon
does besides is not counted: the watcher's own work, a second Envoy that validates the outcome, Envoy itself.
gateway-ctl is its whole process, from the file that changes to the bytes that Envoy acknowledges.
"""

import argparse
import json
import logging
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

HOSTS = 100
SERVICES = 1000


def resource(kind, name, spec):
    """An object of Emissary's."""
    return {
        "apiVersion": "getambassador.io/v3alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


def mapping(number, version, hosts):
    """A version of a Mapping."""
    service = number % SERVICES
    address = f"127.1.{service // 250}.{1 + service % 250}"
    return resource("Mapping", f"other-{number}", {
        "hostname": f"h{number % hosts}.test",
        "prefix": f"/other/{number}/",
        "rewrite": f"/v{version}/",
        "service": f"{address}:8081",
    })


def edge(port, hosts):
    """A Listener, and Hosts in the clear."""
    yield resource("Listener", "http", {
        "port": port,
        "protocol": "HTTP",
        "securityModel": "INSECURE",
        "hostBinding": {"namespace": {"from": "ALL"}},
    })
    for number in range(hosts):
        yield resource("Host", f"host-{number}", {
            "hostname": f"h{number}.test",
            "requestPolicy": {"insecure": {"action": "Route"}},
        })


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def of_emissary(checkout, objects, change, changes, cached):
    """CPU seconds of each change."""
    sys.path.insert(0, str(checkout / "python/ambassador/src"))
    from ambassador import IR, Cache, Config, EnvoyConfig
    from ambassador.fetch import ResourceFetcher
    from ambassador.utils import SecretHandler, dump_json

    logger = logging.getLogger("emissary")
    logger.setLevel(logging.CRITICAL)
    logging.disable(logging.CRITICAL)
    folder = tempfile.mkdtemp()
    cache = Cache(logger) if cached else None

    def compile_all(deltas):
        nonlocal cache
        kinds = {}
        for one in objects.values():
            kinds.setdefault(one["kind"], []).append(one)
        text = json.dumps({"Kubernetes": kinds, "Consul": {}, "Deltas": deltas})
        before = time.process_time()
        config = Config()
        fetcher = ResourceFetcher(logger, config)
        fetcher.parse_watt(text)
        config.load_all(fetcher.sorted())
        _, reset, groups = IR.check_deltas(logger, fetcher, cache)
        if cached and reset:
            cache = Cache(logger)
        secrets = SecretHandler(logger, folder, folder, "0")
        ir = IR(config, secret_handler=secrets, invalidate_groups_for=groups, cache=cache,
                file_checker=lambda *_: True)
        _, ads, _ = EnvoyConfig.generate(ir, cache=cache).split_config()
        ir.as_json()
        written = dump_json(ads)
        cpu = time.process_time() - before
        assert "/other/0/" in written
        return cpu

    first = compile_all([])
    costs = []
    for number in range(changes):
        changed = change(number)
        objects["Mapping", changed["metadata"]["name"]] = changed
        costs.append(compile_all([{
            "kind": "Mapping",
            "apiVersion": changed["apiVersion"],
            "metadata": changed["metadata"],
            "deltaType": "update",
        }]))
    return first, costs


def ask(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return answer.read().decode()


def wait(what, done):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            if done():
                return
        except OSError:
            pass
        time.sleep(0.005)
    sys.exit(f"waited in vain for {what}")


def cpu_seconds(process):
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def of_gateway_ctl(program, envoy, objects, change, changes):
    """CPU seconds until all is in force, and of a change."""
    xds, admin, envoy_admin = free_port(), free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)

        def write(name, some):
            hidden = folder / f".{name}"
            hidden.write_text("\n---\n".join(json.dumps(one) for one in some))
            hidden.rename(folder / name)

        # A Mapping that will change has a file of its own, as an object of a cluster is told alone.
        alone = [change(number) for number in range(changes)]
        for one in alone:
            del objects["Mapping", one["metadata"]["name"]]
            write(f"{one['metadata']['name']}.yaml", [one])
        every = list(objects.values())
        for start in range(0, len(every), 500):
            write(f"many-{start}.yaml", every[start:start + 500])
        bootstrap = folder / ".bootstrap.json"
        subprocess.run([program, "envoy-bootstrap", "--format", "json", "--xds", f"127.0.0.1:{xds}",
                        "--envoy-admin-addr", f"127.0.0.1:{envoy_admin}", "--output", bootstrap],
                       check=True)
        serve = [program, "serve", "--config", folder, "--xds-addr", f"127.0.0.1:{xds}",
                 "--admin-addr", f"127.0.0.1:{admin}"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(serve, **quiet) as controller, subprocess.Popen(
            [envoy, "--disable-hot-restart", "--concurrency", "1", "-c", bootstrap], **quiet
        ) as proxy:
            try:
                def taken(version):
                    # Envoy's own table says when a change is in force.
                    def done():
                        return version in ask(envoy_admin, "/config_dump?resource=dynamic_route_configs")
                    return done

                wait("Envoy", lambda: "LIVE" in ask(envoy_admin, "/ready"))
                wait("the first tables", taken(every[-1]["spec"]["prefix"]))
                first = cpu_seconds(controller)
                for number, one in enumerate(alone):
                    one["spec"]["rewrite"] = f"/changed{number}/"
                    write(f"{one['metadata']['name']}.yaml", [one])
                    time.sleep(0.1)
                wait("the last change", taken(f"/changed{changes - 1}/"))
                return (cpu_seconds(controller) - first) / changes
            finally:
                controller.kill()
                proxy.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=pathlib.Path)
    parser.add_argument("--gateway-ctl", required=True)
    parser.add_argument("--envoy", required=True)
    parser.add_argument("--mappings", type=int, default=5000)
    parser.add_argument("--changes", type=int, default=5, help="of Emissary")
    parser.add_argument("--own-changes", type=int, default=100, help="of gateway-ctl")
    args = parser.parse_args()
    print("One Mapping changed, CPU ms (median of Emissary's, mean of gateway-ctl's):\n")
    print("| Hosts × Mappings | Emissary, whole | Emissary, with its cache | gateway-ctl | times less than with the cache |")
    print("|---|--:|--:|--:|--:|")
    for hosts in (HOSTS, 1):
        def change(number):
            return mapping(number * 7919 % args.mappings, number + 1, hosts)

        def objects():
            every = [*edge(18080, hosts), *(mapping(n, 0, hosts) for n in range(args.mappings))]
            return {(one["kind"], one["metadata"]["name"]): one for one in every}

        costs = [
            statistics.median(of_emissary(args.checkout, objects(), change, args.changes, cached)[1])
            for cached in (False, True)
        ]
        own = of_gateway_ctl(args.gateway_ctl, args.envoy, objects(), change, args.own_changes)
        row = f"{hosts} × {args.mappings // hosts:,}"
        print(f"| {row} | {costs[0] * 1e3:,.0f} | {costs[1] * 1e3:,.0f} | {own * 1e3:.1f} "
              f"| {costs[1] / own:,.0f} |", flush=True)


main()
