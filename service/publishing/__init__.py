"""Answers that the service itself tells others: MQTT brokers and webhooks, with an outbox for when they are away.

request.py   whom to tell what           outbox.py      messages on disk until they are delivered, bounded
message.py   rows as a document          mqtt.py, webhook.py   ways to deliver one
publisher.py reads streams, fills the outbox, empties it
"""
