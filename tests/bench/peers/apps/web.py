"""The same three routes for every peer, in the framework that its users take: ``web:app`` with ``PEERS_NAME`` set."""

import importlib
import os
from contextlib import asynccontextmanager

from body import KINDS, PRIORITIES

peer = importlib.import_module(f"{os.environ['PEERS_NAME']}_peer")


def flask_app():
    from flask import Flask, jsonify, request

    app = Flask(__name__)

    def checked(task):
        if task.get("type") not in KINDS or task.get("priority", "normal") not in PRIORITIES:
            raise ValueError(f"no task: {task}")
        return task["type"], task.get("priority", "normal")

    @app.errorhandler(ValueError)
    def refuse(error):
        return jsonify(error=str(error)), 422

    @app.post("/api/tasks")
    def submit():
        return jsonify(id=peer.enqueue(*checked(request.get_json())), state="queued"), 202

    @app.post("/api/tasks/batch")
    def submit_batch():
        return jsonify(tasks=peer.enqueue_many([checked(task) for task in request.get_json()])), 202

    @app.get("/api/tasks/<path:handle>")
    def status(handle):
        state, result = peer.status(handle)
        return jsonify(id=handle, state=state, result=result)

    return app


def fastapi_app():
    from typing import Any, Literal

    from fastapi import FastAPI
    from pydantic import BaseModel

    class Task(BaseModel):
        type: Literal["noop", "cpu", "wait"]
        priority: Literal["high", "normal", "low"] = "normal"
        payload: dict[str, Any] = {}

    @asynccontextmanager
    async def life(app):
        if hasattr(peer, "startup"):
            await peer.startup()
        yield
        if hasattr(peer, "shutdown"):
            await peer.shutdown()

    app = FastAPI(lifespan=life)
    if hasattr(peer, "submit"):

        async def submit(task: Task):
            return {"id": await peer.submit(task.type, task.priority), "state": "queued"}

        async def submit_batch(tasks: list[Task]):
            return {"tasks": await peer.submit_many([(task.type, task.priority) for task in tasks])}

        async def status(handle: str):
            state, result = await peer.status(handle)
            return {"id": handle, "state": state, "result": result}

    else:
        # A blocking client goes to FastAPI's thread pool, as its documentation says.
        def submit(task: Task):
            return {"id": peer.enqueue(task.type, task.priority), "state": "queued"}

        def submit_batch(tasks: list[Task]):
            return {"tasks": peer.enqueue_many([(task.type, task.priority) for task in tasks])}

        def status(handle: str):
            state, result = peer.status(handle)
            return {"id": handle, "state": state, "result": result}

    app.post("/api/tasks", status_code=202)(submit)
    app.post("/api/tasks/batch", status_code=202)(submit_batch)
    app.get("/api/tasks/{handle:path}")(status)
    return app


app = flask_app() if peer.FRAMEWORK == "flask" else fastapi_app()
