"""Calls a model over gRPC. WEIR_GRPC is the address of the gRPC port, WEIR_KEY the key, WEIR_MODEL the alias."""

import os

import grpc
from weir.chat.v1 import chat_service_pb2, chat_service_pb2_grpc, conversation_pb2

address = os.environ.get("WEIR_GRPC", "127.0.0.1:8788")
key = os.environ["WEIR_KEY"]
model = os.environ.get("WEIR_MODEL", "weir-demo")

# grpc.secure_channel(address, grpc.ssl_channel_credentials()) where the port has a certificate.
with grpc.insecure_channel(address) as channel:
    chat = chat_service_pb2_grpc.ChatServiceStub(channel)
    hello = conversation_pb2.Message(
        role=conversation_pb2.ROLE_USER,
        parts=[conversation_pb2.Part(text=conversation_pb2.Text(text="Hello"))],
    )
    replies = chat.Generate(
        chat_service_pb2.GenerateRequest(model=model, messages=[hello]),
        metadata=[("authorization", f"Bearer {key}")],
        timeout=60,
    )
    for reply in replies:
        event = reply.event
        if event.WhichOneof("kind") == "delta":
            print(event.delta.text, end="", flush=True)
        elif event.WhichOneof("kind") == "end":
            print(f"\n{event.end.usage.output_tokens} tokens of output")
