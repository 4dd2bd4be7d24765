"""The Helm chart, as Helm renders it and as Kubernetes' own schemas judge it.

`make test-deploy` makes both judges: Helm's engine, unless there is a `helm`, and the schemas.
"""

import os
import re
import shutil
import subprocess

import pytest
import yaml

from dicomferry.cli.main import load_command
from tests.checkout import REPOSITORY

CHART = REPOSITORY / "deploy/helm/dicomferry"
MANIFEST = REPOSITORY / "deploy/server/kubernetes.yaml"
HELM = shutil.which("helm") or str(REPOSITORY / "build/deploy/helm")
VALIDATE = REPOSITORY / ".venv-deploy/bin/kubernetes-validate"
# A kind of Prometheus' operator: Kubernetes has no schema of it.
WITHOUT_SCHEMA = "ServiceMonitor"
VALUES = sorted((CHART / "ci").glob("*-values.yaml"))
each_values = pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
with_helm = pytest.mark.skipif(
    not os.access(HELM, os.X_OK), reason="no helm: `make test-deploy` builds its engine, with Go"
)
with_schemas = pytest.mark.skipif(
    not VALIDATE.exists(), reason="no schemas of Kubernetes: `make test-deploy` installs them"
)


def helm(*arguments):
    return subprocess.run([HELM, *arguments], capture_output=True, text=True, check=False)


def rendered(values):
    """Text of all manifests of a release named archive."""
    done = helm("template", "archive", str(CHART), "-f", str(values))
    assert done.returncode == 0, done.stderr
    return done.stdout


def manifests(values):
    """The manifests by their kinds."""
    return {each["kind"]: each for each in yaml.safe_load_all(rendered(values)) if each}


def changed(tmp_path, name, **changes):
    """Values of `ci/` with some changed, as a file."""
    path = tmp_path / "values.yaml"
    values = yaml.safe_load((CHART / f"ci/{name}-values.yaml").read_text())
    path.write_text(yaml.safe_dump(values | changes))
    return path


def of(name):
    return manifests(CHART / f"ci/{name}-values.yaml")


def pod_of(found):
    return found["Deployment"]["spec"]["template"]["spec"]


def violations(path):
    """What the schemas of Kubernetes have against a file; further fields are faults, too."""
    done = subprocess.run([VALIDATE, "--strict", path], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    assert any(" passed for resource " in line for line in lines), lines
    return [line for line in lines if not line.startswith("INFO") and WITHOUT_SCHEMA not in line]


@with_helm
@each_values
def test_helm_has_nothing_against_it(values):
    done = helm("lint", str(CHART), "--strict", "-f", str(values))
    assert done.returncode == 0, done.stdout + done.stderr


@with_helm
@with_schemas
@each_values
def test_kubernetes_takes_what_it_renders(values, tmp_path):
    path = tmp_path / "rendered.yaml"
    path.write_text(rendered(values))
    assert violations(path) == []


@with_schemas
def test_kubernetes_takes_the_manifest_of_the_server(tmp_path):
    assert violations(MANIFEST) == []
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(MANIFEST.read_text().replace("replicas: 1", "replicas: one"))
    assert violations(wrong)


@with_helm
def test_without_further_values_it_is_the_manifest_of_the_server():
    plain = {each["kind"]: each for each in yaml.safe_load_all(MANIFEST.read_text())}
    found = of("default")
    assert set(found) == {*plain, "Service"}
    ours, theirs = pod_of(found), pod_of(plain)
    assert ours["securityContext"] == theirs["securityContext"]
    assert ours["automountServiceAccountToken"] is False
    for spec in (ours, theirs):
        spec["volumes"] = [each for each in spec["volumes"] if each["name"] != "stores"]
    assert ours["volumes"] == theirs["volumes"]
    [container], [their_container] = ours["containers"], theirs["containers"]
    for field in ("securityContext", "resources", "volumeMounts"):
        assert container[field] == their_container[field], field
    for probe in ("livenessProbe", "readinessProbe"):
        path = their_container[probe]["httpGet"]["path"]
        assert container[probe]["httpGet"] == {"path": path, "port": "http", "scheme": "HTTP"}
    deployment = found["Deployment"]["spec"]
    assert (deployment["replicas"], deployment["strategy"]["type"]) == (1, "Recreate")
    claim = found["PersistentVolumeClaim"]
    assert claim["spec"] == plain["PersistentVolumeClaim"]["spec"]
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


@with_helm
@each_values
def test_the_server_knows_its_flags_and_services_find_it(values):
    found = manifests(values)
    known = {name for parameter in load_command("serve").params for name in parameter.opts}
    [container] = pod_of(found)["containers"]
    command, *flags = container["args"]
    assert command == "serve"
    assert {flag.partition("=")[0] for flag in flags} <= known
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert found["Deployment"]["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert found["Service"]["spec"]["selector"].items() <= labels.items()
    ports = {port["name"] for port in container["ports"]}
    assert {port["targetPort"] for port in found["Service"]["spec"]["ports"]} == ports
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert {volume["name"] for volume in pod_of(found)["volumes"]} == mounted


@with_helm
def test_stores_in_a_bucket_need_no_volume_and_may_have_several_servers():
    found = of("bucket-oidc")
    assert "PersistentVolumeClaim" not in found
    [container] = pod_of(found)["containers"]
    flags = {"--root=gs://clinic-stores/main", "--oidc-issuer=https://login.example"}
    assert flags | {"--allow-write=bq://clinic.dicom"} <= set(container["args"])
    assert "/data" not in {mount["mountPath"] for mount in container["volumeMounts"]}
    assert found["Service"]["spec"]["sessionAffinity"] == "ClientIP"
    account = found["ServiceAccount"]["metadata"]["name"]
    assert pod_of(found)["serviceAccountName"] == account
    [endpoint] = found["ServiceMonitor"]["spec"]["endpoints"]
    assert endpoint["authorization"]["credentials"]["name"] == "dicomferry-metrics"


@with_helm
def test_tls_reaches_the_server_its_probes_and_its_address():
    found = of("tls-ingress")
    [container] = pod_of(found)["containers"]
    tls = {"--tls-cert=/tls/tls.crt", "--tls-key=/tls/tls.key", "--url=https://dicom.example"}
    assert tls <= set(container["args"])
    for probe in ("livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["scheme"] == "HTTPS"
    annotations = found["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/scheme"] == "https"
    assert found["Ingress"]["spec"]["tls"][0]["secretName"] == "dicom-example-tls"


@with_helm
@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("default", {"image": {}}, "image.repository"),
        ("default", {"image": {"repository": "r"}}, "image.tag or image.digest"),
        ("default", {"replicas": 2}, "stores on a volume have one server"),
        ("default", {"replica": 2}, "replica"),
        ("default", {"oidc": {"issuer": "https://login.example"}}, "oidc.audience"),
        ("default", {"ingress": {"enabled": True}}, "ingress.host"),
        ("default", {"metrics": {"serviceMonitor": {"enabled": True}}}, "tokenSecret"),
        ("bucket-oidc", {"root": "s3://bucket"}, "root"),
        ("bucket-oidc", {"ingress": {"enabled": True, "host": "h"}}, "ingress.annotations"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_wrong_values_are_refused_with_the_remedy(name, changes, said, tmp_path):
    done = helm("template", "archive", str(CHART), "-f", str(changed(tmp_path, name, **changes)))
    assert done.returncode
    assert said in done.stderr


def test_every_value_is_used_and_in_the_schema():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())
    used = "".join(path.read_text() for path in (CHART / "templates").iterdir())

    def check(values, properties, path):
        assert set(values) == set(properties), path or "values"
        for name, value in values.items():
            nested = properties[name].get("properties")
            if nested:
                check(value, nested, f"{path}.{name}")
            else:
                last = rf"\.{name}\b"
                assert re.search(last, used), f"no template has {path}.{name}"

    del schema["properties"]["global"]  # Helm's own
    check(values, schema["properties"], "")
