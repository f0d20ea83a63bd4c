"""docs/deploy/kubernetes.yaml and cloudformation.yaml say what the code and docs/deploy/iam say.

Their own forms are for kubernetes-validate and cfn-lint to judge. Takes the folder of the binaries.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from ruamel.yaml import YAML

BINARIES = pathlib.Path(sys.argv[1]).absolute()
PRESET = pathlib.Path("docs/examples/aws.toml").absolute()
LOCKED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


def sound(what, variables):
    """The preset for AWS and these variables are a configuration that works."""
    variables = {name: value for name, value in variables.items() if not name.startswith("AWS_")}
    said = subprocess.run([BINARIES / "jit", "--config", PRESET, "config", "check"], env=variables,
                          capture_output=True, text=True)
    assert said.returncode == 0, f"{what}: {said.stdout}{said.stderr}"


def kubernetes():
    documents = list(YAML(typ="safe").load_all(pathlib.Path("docs/deploy/kubernetes.yaml").read_text()))
    by_kind = {}
    for document in documents:
        assert document["metadata"]["namespace"] == "jit-access"
        by_kind.setdefault(document["kind"], []).append(document)
    labels = {}
    for deployment in by_kind["Deployment"]:
        name, template = deployment["metadata"]["name"], deployment["spec"]["template"]
        labels[name] = template["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"] == labels[name], name
        pod = template["spec"]
        assert pod["automountServiceAccountToken"] is False and pod["securityContext"]["runAsNonRoot"], name
        assert pod["serviceAccountName"] in {it["metadata"]["name"] for it in by_kind["ServiceAccount"]}
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        (container,) = pod["containers"]
        assert container["securityContext"] == LOCKED, name
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        assert all(mount["readOnly"] for mount in container["volumeMounts"]) and set(mounts.values()) == set(volumes)
        # A file that was not in the secret would end the start.
        header = pathlib.Path("docs/deploy/kubernetes.yaml").read_text().split("apiVersion", 1)[0]
        with tempfile.TemporaryDirectory() as folder:
            variables = {variable["name"]: variable["value"] for variable in container["env"]}
            for variable, value in variables.items():
                if value.startswith("/run/secrets/jit/"):
                    secret = value.removeprefix("/run/secrets/jit/")
                    assert f"--from-file={secret}" in header, secret
                    file = pathlib.Path(folder, secret)
                    file.write_text({"slack_bot_token": "xoxb-1-a", "slack_app_token": "xapp-1-a"}.get(secret, "x" * 32))
                    variables[variable] = str(file)
            sound(f"kubernetes.yaml: {name}", variables)
        ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
        for probe, path in (("startupProbe", "/health"), ("livenessProbe", "/health"), ("readinessProbe", "/ready")):
            if probe in container:
                assert container[probe]["httpGet"] == {"path": path, "port": "observe"}, probe
        if name == "jitd":
            assert ports == {port: int(variables[variable].rpartition(":")[2])
                             for port, variable in (("api", "JIT_LISTEN"), ("observe", "JIT_OBSERVE"))}
            assert deployment["spec"]["replicas"] >= 2 and "livenessProbe" in container
    # What selects pods selects some.
    selectors = [service["spec"]["selector"] for service in by_kind["Service"]]
    selectors += [budget["spec"]["selector"]["matchLabels"] for budget in by_kind["PodDisruptionBudget"]]
    selectors += [policy["spec"]["podSelector"]["matchLabels"] for policy in by_kind["NetworkPolicy"]]
    for selector in selectors:
        assert any(selector.items() <= of_pod.items() for of_pod in labels.values()), selector
    print(f"docs/deploy/kubernetes.yaml: {len(documents)} resources, and variables that work")


def template():
    yaml = YAML(typ="safe")
    for tag in ("!Ref", "!Sub", "!GetAtt"):
        yaml.constructor.add_constructor(tag, lambda loader, node: {node.tag: node.value})
    return yaml.load(pathlib.Path("docs/deploy/cloudformation.yaml").read_text())["Resources"]


def cloudformation():
    resources = template()
    printed = subprocess.run([BINARIES / "jitd", "dynamodb", "create-table", "--print-cloudformation", "--config", PRESET],
                             env={"JIT_SLACK_BOT_TOKEN": "xoxb-1-a", "JIT_SLACK_APP_TOKEN": "xapp-1-a"},
                             capture_output=True, text=True)
    assert printed.returncode == 0, printed.stderr
    table = json.loads(printed.stdout)["Resources"]["Store"]
    ours = resources["Store"]
    assert {**ours["Properties"], "TableName": "jit"} == table["Properties"], "the table is the one of the code"
    assert ours["DeletionPolicy"] == table["DeletionPolicy"] == "Retain"

    for name in ("grant", "revoke", "discover", "store"):
        meant = json.loads(pathlib.Path(f"docs/deploy/iam/{name}.json").read_text())
        policy = resources[f"{name.title()}Policy"]["Properties"]["PolicyDocument"]
        for statement in [*meant["Statement"], *policy["Statement"]]:
            for key in ("Action", "Resource"):
                value = statement[key]
                statement[key] = [value] if isinstance(value, (str, dict)) else value
        if name == "store":
            meant["Statement"][0]["Resource"] = policy["Statement"][0]["Resource"]
            assert policy["Statement"][0]["Resource"] == [{"!GetAtt": "Store.Arn"}]
        assert policy == meant, f"{name} is docs/deploy/iam/{name}.json"
    readme = pathlib.Path("docs/deploy/iam/README.md").read_text()
    for process, role in (("jitd", "DaemonRole"), ("jit-sweeper", "SweeperRole")):
        told = re.search(rf"\| `{process}` \| ([a-z, ]+) \|", readme)[1].split(", ")
        attached = resources[role]["Properties"]["ManagedPolicyArns"]
        assert attached == [{"!Ref": f"{name.title()}Policy"} for name in told], role

    for task in ("DaemonTask", "SweeperTask"):
        (container,) = resources[task]["Properties"]["ContainerDefinitions"]
        assert container["ReadonlyRootFilesystem"] and container["User"].startswith("65532"), task
        given = {"JIT_SLACK_BOT_TOKEN": "xoxb-1-a", "JIT_SLACK_APP_TOKEN": "xapp-1-a",
                 "JIT_PAGER_WEBHOOK": "https://alerts.example.com/jit"}
        variables = {variable["Name"]: variable["Value"] for variable in container["Environment"]}
        variables |= {secret["Name"]: given[secret["Name"]] for secret in container["Secrets"]}
        sound(f"cloudformation.yaml: {task}", variables)
    print(f"docs/deploy/cloudformation.yaml: {len(resources)} resources; the table, the rights and the variables are the code's")


os.chdir(pathlib.Path(__file__).parents[2])
kubernetes()
cloudformation()
