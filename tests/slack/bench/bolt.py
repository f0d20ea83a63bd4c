"""The same visible work as ours, with slack_bolt and nothing behind it: takes the form, posts a
card; takes the click, changes the card. Arguments: the address of the Web API."""

import sys

from slack_bolt import App
from slack_bolt.adapter.socket_mode import SocketModeHandler
from slack_sdk import WebClient

CHANNEL = "C0ACCESS"
SENDING = {
    "type": "modal",
    "callback_id": "sent",
    "title": {"type": "plain_text", "text": "Request access"},
    "blocks": [{"type": "section", "text": {"type": "plain_text", "text": "Sending…"}}],
}


def card(user, target, reason, state, buttons):
    fields = [f"*Who*\n<@{user}>", f"*What*\n`{target}`", "*How long*\n1 h", "*Tier*\nstandard"]
    blocks = [
        {"type": "header", "text": {"type": "plain_text", "text": "Access request"}},
        {"type": "section", "fields": [{"type": "mrkdwn", "text": text} for text in fields]},
        {"type": "section", "text": {"type": "plain_text", "text": reason}},
    ]
    if buttons:
        value = f"{user}|{target}|{reason}"
        approve = {"action_id": "jit_approve", "style": "primary", "value": value}
        deny = {"action_id": "jit_deny", "style": "danger", "value": value}
        approve["text"] = {"type": "plain_text", "text": "Approve 1 h"}
        deny["text"] = {"type": "plain_text", "text": "Deny"}
        elements = [{"type": "button", **approve}, {"type": "button", **deny}]
        blocks.append({"type": "actions", "block_id": "decide", "elements": elements})
    blocks.append({"type": "context", "elements": [{"type": "mrkdwn", "text": state}]})
    return {"channel": CHANNEL, "text": f"{user} asks for {target}", "blocks": blocks}


def main(api):
    client = WebClient(token="xoxb-bench", base_url=api + "/")
    app = App(client=client)

    @app.view("jit_request")
    def asked(ack, body, view, client):
        ack(response_action="update", view=SENDING)
        values = view["state"]["values"]
        target = values["target"]["target"]["selected_option"]["value"]
        reason = values["reason"]["reason"]["value"]
        client.chat_postMessage(**card(body["user"]["id"], target, reason, "Pending", True))

    @app.action("jit_approve")
    def approved(ack, body, action, client):
        ack()
        user, target, reason = action["value"].split("|")
        state = f"Approved by <@{body['user']['id']}>"
        client.chat_update(
            ts=body["container"]["message_ts"], **card(user, target, reason, state, False)
        )

    SocketModeHandler(app, "xapp-bench", web_client=client).start()


main(sys.argv[1])
