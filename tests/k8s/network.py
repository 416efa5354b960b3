"""Who may reach whom, as the NetworkPolicies say it, beside who must, as the settings do.

What Strimzi makes of a listener's peers is a policy too. Addresses are of three kinds: our workloads, by the labels of
their pods; Kafka and the database, by the labels that their operators give; and elsewhere, which no pod is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.k8s.manifests import Manifests, Object, Workload
from tests.k8s.wiring import code_of

HTTPS = 443
NAMESPACES = {"kubernetes.io/metadata.name": "learnback"}


@dataclass(frozen=True)
class Place:
    """What has an address: pods by their labels, in their namespace; none of them: elsewhere."""

    name: str
    labels: dict[str, str]
    ports: dict[str, int]

    @property
    def elsewhere(self) -> bool:
        """Whether no pod is there."""
        return not self.labels


@dataclass(frozen=True, order=True)
class Way:
    """From a workload to a port of a place."""

    source: str
    target: str
    port: int


def kafka(manifests: Manifests) -> Place:
    """The brokers, as Strimzi names and labels them."""
    (cluster,) = manifests.of("Kafka")
    name = cluster["metadata"]["name"]
    ports = {one["name"]: one["port"] for one in cluster["spec"]["kafka"]["listeners"]}
    labels = {"strimzi.io/cluster": name, "strimzi.io/name": f"{name}-kafka", "strimzi.io/kind": "Kafka"}
    return Place(f"{name}-kafka-bootstrap", labels, ports)


def database(manifests: Manifests) -> Place:
    """The primary, as CloudNativePG names and labels it."""
    (cluster,) = manifests.of("Cluster")
    name = cluster["metadata"]["name"]
    return Place(f"{name}-rw", {"cnpg.io/cluster": name}, {"postgres": 5432})


def places(manifests: Manifests) -> dict[str, Place]:
    """What a name in a setting leads to, by that name."""
    found = [kafka(manifests), database(manifests)]
    for service in manifests.of("Service"):
        for one in manifests.workloads():
            if service["spec"]["selector"].items() <= one.labels.items():
                ports = manifests.ports(one)
                found.append(Place(service["metadata"]["name"], one.labels, ports))
    return {one.name: one for one in found}


def needed(manifests: Manifests) -> set[Way]:
    """The ways that the workloads' settings name and their code goes; the console goes them all."""
    return {
        _way(one, url)
        for one in manifests.workloads()
        for name, value in manifests.settings(one).items()
        for url in _addresses(name, value, _code(one))
    }


def _code(workload: Workload) -> str:
    """What of the platform it uses: the console all, who is not ours nothing."""
    if not workload.ours:
        return ""
    return "Bus.of( ArtifactStore(" if workload.service == "cli" else code_of(workload.service)


def _addresses(name: str, value: str, code: str) -> Iterable[str]:
    """The URLs in a setting, if the code goes there."""
    if name == "LEARNBACK_KAFKA_BOOTSTRAP_SERVERS":
        return [f"kafka://{server}" for server in value.split(",")] if "Bus.of(" in code else []
    if name == "AWS_ENDPOINT_URL":
        return [value] if "ArtifactStore(" in code else []
    if name == "LEARNBACK_PREDICTOR_VLLM":
        return list(json.loads(value).values())
    return [value] if name.endswith(("_URL", "_ENDPOINT")) and name != "LEARNBACK_ARTIFACTS_URL" else []


def _way(source: Workload, url: str) -> Way:
    parts = urlsplit(url)
    assert parts.hostname, url
    return Way(source.name, parts.hostname, parts.port or HTTPS)


def allowed(manifests: Manifests) -> set[Way]:
    """The ways that policies leave open, between our workloads, Kafka, the database and the store."""
    policies = [*(one["spec"] for one in manifests.of("NetworkPolicy")), *_of_listeners(manifests)]
    targets = [one for one in places(manifests).values() if not one.name.endswith("-pods")]
    ways = set()
    for source in manifests.workloads():
        for target in targets:
            for port in target.ports.values():
                place = Place(source.name, source.labels, {})
                if _lets(policies, "egress", place, target, port) and _lets(policies, "ingress", target, place, port):
                    ways.add(Way(source.name, target.name, port))
    return ways


def outward(manifests: Manifests, port: int = HTTPS) -> set[str]:
    """The workloads that may reach a port of what is elsewhere."""
    policies = [one["spec"] for one in manifests.of("NetworkPolicy")]
    away = Place("elsewhere", {}, {})
    return {
        one.name
        for one in manifests.workloads()
        if _lets(policies, "egress", Place(one.name, one.labels, {}), away, port)
    }


def _of_listeners(manifests: Manifests) -> Iterable[Object]:
    (cluster,) = manifests.of("Kafka")
    for listener in cluster["spec"]["kafka"]["listeners"]:
        rule: Object = {"ports": [{"port": listener["port"]}]}
        if "networkPolicyPeers" in listener:
            rule["from"] = listener["networkPolicyPeers"]
        yield {
            "podSelector": {"matchLabels": {"strimzi.io/cluster": cluster["metadata"]["name"]}},
            "policyTypes": ["Ingress"],
            "ingress": [rule],
        }


def _lets(policies: Iterable[Object], direction: str, at: Place, other: Place, port: int) -> bool:
    """Whether traffic between a place and another one is let through where policies hold for the first."""
    side = "to" if direction == "egress" else "from"
    named = at.ports if direction == "ingress" else other.ports
    here = [
        one
        for one in policies
        if direction.capitalize() in one["policyTypes"] and _selects(one["podSelector"], at.labels)
    ]
    rules = [rule for policy in here for rule in policy.get(direction, ())]
    return not here or any(_port(rule, port, named) and _peer(rule.get(side), other) for rule in rules)


def _port(rule: Object, port: int, named: dict[str, int]) -> bool:
    if "ports" not in rule:
        return True
    return any(named.get(one["port"], one["port"]) == port for one in rule["ports"] if one.get("protocol") != "UDP")


def _peer(peers: list[Object] | None, other: Place) -> bool:
    if peers is None:
        return True
    return not other.elsewhere and any(
        "ipBlock" not in one
        and _selects(one.get("podSelector", {}), other.labels)
        and _selects(one.get("namespaceSelector", {}), NAMESPACES)
        for one in peers
    )


def _selects(selector: Object, labels: dict[str, str]) -> bool:
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(one["key"]) in one["values"] for one in selector.get("matchExpressions", ())
    )


def wrong(manifests: Manifests) -> list[str]:
    """What is closed and must be open, and the other way round."""
    must, may, out = needed(manifests), allowed(manifests), outward(manifests)
    inside = {way for way in must if way.target in places(manifests)}
    away = {way.source for way in must - inside if way.port == HTTPS}
    deny = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    found = (
        [] if any(one["spec"] == deny for one in manifests.of("NetworkPolicy")) else ["nothing is denied by default"]
    )
    found += [f"{way.source} cannot reach {way.target}:{way.port}" for way in sorted(inside - may)]
    found += [f"{way.source} may reach {way.target}:{way.port}, and does not" for way in sorted(may - inside)]
    found += [
        f"{way.source} goes to {way.target}:{way.port}, which is nowhere"
        for way in sorted(must - inside)
        if way.port != HTTPS
    ]
    found += [f"{name} cannot reach what is elsewhere" for name in sorted(away - out)]
    found += [f"{name} may reach all that is elsewhere, and does not" for name in sorted(out - away)]
    return found
