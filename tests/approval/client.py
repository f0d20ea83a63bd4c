"""A program that knows the contract and nothing else: asks, polls, and prints what it was given."""

import json
import sys
import time
import urllib.request

url, key, resource, tier = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
headers = {"Content-Type": "application/json", "X-JIT-API-Key": key}

def call(path, body=None):
    data = json.dumps(body).encode() if body else None
    return json.load(urllib.request.urlopen(urllib.request.Request(url + path, data, headers)))

ask = {"requester": "prometheus", "resource": resource, "tier": tier, "reason": "Check sensor readings"}
polled = call("/request", ask)
while polled["status"] == "pending":
    polled = call("/status/" + polled["request_id"])
    time.sleep(0.1)
print(json.dumps(polled))
