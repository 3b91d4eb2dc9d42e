"""The routes of an ML backend that Label Studio calls: health, setup, predict, versions, webhook.

Predictions are the guesses and the order of the current batch. None of them changes anything; a webhook only
says that it is time to look for annotations.
"""

import threading
from collections.abc import Callable
from typing import Any

from aljax.oracles.base import Batch
from aljax.oracles.label_studio import tasks
from aljax.oracles.web import Reply, Request, Respond, StatusError, json_of, json_reply


def responder(current: Callable[[], Batch], woken: threading.Event) -> Respond:
    """Returns the function that replies to Label Studio.

    Args:
      current: returns the batch that is asked.
      woken: is set when an annotation was made or changed.
    """

    def respond(request: Request) -> Reply:
        batch = current()
        match request.method, request.path:
            case "GET", "/health" | "/":
                return json_reply({"status": "UP", "model_class": "aljax"})
            case "GET", "/versions":
                return json_reply({"versions": [tasks.version(batch.cycle)]})
            case "POST", "/setup":
                return json_reply({"model_version": tasks.version(batch.cycle)})
            case "POST", "/predict":
                return json_reply(predictions(json_of(request), batch))
            case "POST", "/webhook":
                woken.set()
                return json_reply({}, 201)
        raise StatusError(404, "accepted: health, setup, predict, versions, webhook")

    return respond


def predictions(sent: Any, batch: Batch) -> dict[str, Any]:
    """Returns a prediction for each of the tasks; one without a guess for what is not of this batch."""
    try:
        asked = [one["data"].get("file") for one in sent["tasks"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise StatusError(400, "accepted: tasks with their data") from error
    known = {question.file: question for question in batch.questions}
    version = tasks.version(batch.cycle)
    unknown = {"model_version": version, "score": 1.0, "result": []}
    results = [tasks.prediction(known[file], batch) if file in known else unknown for file in asked]
    return {"results": results, "model_version": version}
