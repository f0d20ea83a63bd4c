"""Whom the tour visits: the simulated organization and moto, each as a process of its own, and the
official clients that go there."""

import json
import subprocess
import time
import urllib.error
import urllib.request

import boto3
from botocore.config import Config

PATIENCE_S = 60
REGION = "eu-central-1"
ONCE = {"retries": {"total_max_attempts": 1}, "read_timeout": PATIENCE_S}


class Simulated:
    """The simulated organization: its process, and its control API."""

    key, secret = "AKIASIMULATED0000001", "a-secret-of-the-simulated-organization"

    def __init__(self, binary):
        self.process = subprocess.Popen([binary, "--port", "0"], stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()
        self.control("settings", {"apply_min_ms": 1000, "apply_max_ms": 1000})

    def control(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/control/{path}", data, headers)
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.load(answer)

    def furnish(self, aws):
        known = self.control("state")
        self.control("accounts", {"do": "add", "id": "222222222222", "name": "production"})
        new = {"do": "add", "name": "ReadOnly", "session_s": 4 * 3600}
        return {
            "instance": known["instance_arn"], "store": known["identity_store_id"],
            "management": known["management_account"], "account": "222222222222",
            "set": self.control("sets", new)["arn"],
        }

    def account(self, aws):
        """A role, a user, a role of AWS's own, and a role that trusts nobody who calls here."""
        roles = [
            {"name": "developers", "max_session_s": 4 * 3600},
            {"name": "reserved", "path": "/aws-reserved/"},
            {"name": "closed", "trusted": ["arn:aws:iam::111111111111:user/nobody"]},
        ]
        for role in roles:
            self.control("iam", {"do": "role", **role})
        self.control("iam", {"do": "user", "name": "ana"})

    def user(self, aws, store, name):
        new = {"do": "add", "user_name": name, "email": f"{name}@example.com"}
        return self.control("users", new)["user_id"]

    def wait(self):
        self.control("advance", {"ms": 1000})

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Moto:
    """moto's server. What it holds is made by its own API."""

    key, secret = "AKIAMOTO", "secret"

    def __init__(self, binary, port):
        command = [binary, "-H", "127.0.0.1", "-p", str(port)]
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(command, stdout=quiet, stderr=quiet)
        self.url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}/moto-api/data.json", timeout=PATIENCE_S):
                    return
            except (urllib.error.URLError, ConnectionError):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise
                time.sleep(0.2)

    def furnish(self, aws):
        organization = aws.organizations.create_organization(FeatureSet="ALL")["Organization"]
        new = {"AccountName": "production", "Email": "production@example.com"}
        made = aws.organizations.create_account(**new)["CreateAccountStatus"]
        instance = aws.sso.list_instances()["Instances"][0]
        made_set = aws.sso.create_permission_set(
            Name="ReadOnly", InstanceArn=instance["InstanceArn"], SessionDuration="PT4H"
        )
        return {
            "instance": instance["InstanceArn"], "store": instance["IdentityStoreId"],
            "management": organization["MasterAccountId"], "account": made["AccountId"],
            "set": made_set["PermissionSet"]["PermissionSetArn"],
        }

    def account(self, aws):
        statement = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
        trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        new = {"AssumeRolePolicyDocument": trust}
        aws.iam.create_role(RoleName="developers", MaxSessionDuration=4 * 3600, **new)
        aws.iam.create_role(RoleName="reserved", Path="/aws-reserved/", **new)
        aws.iam.create_role(RoleName="closed", **new)
        aws.iam.create_user(UserName="ana")

    def user(self, aws, store, name):
        made = aws.store.create_user(
            IdentityStoreId=store, UserName=name, DisplayName=name,
            Name={"GivenName": name, "FamilyName": "Example"},
            Emails=[{"Value": f"{name}@example.com", "Type": "work", "Primary": True}],
        )
        return made["UserId"]

    def wait(self):
        """Nothing takes time there."""

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Aws:
    """The official clients."""

    def __init__(self, url, key, secret, token=None, **config):
        def client(name):
            return boto3.client(
                name, endpoint_url=url, aws_access_key_id=key,
                aws_secret_access_key=secret, aws_session_token=token,
                region_name="us-east-1" if name == "iam" else REGION,
                config=Config(**{**ONCE, **config}),
            )

        self.sso, self.store = client("sso-admin"), client("identitystore")
        self.organizations = client("organizations")
        self.iam, self.sts = client("iam"), client("sts")
