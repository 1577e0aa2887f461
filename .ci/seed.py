"""Creates a key and a client credential in a running sandbox, and writes what schemathesis.toml reads: one file a value.

Reads the line that the sandbox printed; prints its URL and its token.
"""

import json
import pathlib
import sys
import urllib.request

sandbox = json.loads(sys.stdin.readline())
folder = pathlib.Path(sys.argv[1])


headers = {"authorization": "Bearer " + sandbox["bearer_token"], "content-type": "application/json"}


def get(path, body=None):
    request = urllib.request.Request(sandbox["url"] + path, body, headers)
    return json.load(urllib.request.urlopen(request, timeout=10))


def post(path, body):
    return get(path, json.dumps(body).encode())


key = post("/platform/api-keys", {"name": "seed", "project_id": sandbox["project_id"]})["api_key"]
issued = post("/platform/clientauth/credentials", {"name": "seed"})
values = {
    "organization": sandbox["organization_id"],
    "project": sandbox["project_id"],
    "policy": get(f"/auth/v1/memberships/{sandbox['organization_id']}/policies")["policies"][0]["id"],
    "api_key": key["secret"],
    "client_id": issued["credential"]["client_id"],
    "client_secret": issued["client_secret"],
}
for name, value in values.items():
    (folder / name).write_text(json.dumps(value) + "\n")
print(sandbox["url"], sandbox["bearer_token"])
