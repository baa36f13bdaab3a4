"""The description of `/api` (OpenAPI 3.1), kept beside the handlers and checked in the tests."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from retry_engine.domain.attempts import Outcome, Source
from retry_engine.domain.case_states import CaseState, CloseReason
from retry_engine.domain.offers import Change, OfferState, Way
from retry_engine.domain.vocabulary import LiftVerdict
from retry_engine.entrypoints.web.auth import ADMINS_ONLY

_TEXT: dict[str, Any] = {"type": "string"}
_MAYBE_TEXT: dict[str, Any] = {"type": ["string", "null"]}
_TIME: dict[str, Any] = {"type": "string", "format": "date-time"}
_MAYBE_TIME: dict[str, Any] = {"type": ["string", "null"], "format": "date-time"}
_AMOUNT: dict[str, Any] = {"type": "integer", "description": "minor units"}
_COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}


def _object(properties: dict[str, Any], *, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def _list_of(schema: str) -> dict[str, Any]:
    return {"type": "array", "items": _ref(schema)}


def _ref(schema: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{schema}"}


_CASE = {
    "id": _TEXT,
    "account": _MAYBE_TEXT,
    "invoice": _TEXT,
    "customer": _TEXT,
    "subscription": _MAYBE_TEXT,
    "state": {"enum": [s.value for s in CaseState]},
    "amount_at_open": _AMOUNT,
    "amount_remaining": _AMOUNT,
    "amount_recovered": _AMOUNT,
    "currency": _TEXT,
    "opened_at": _TIME,
    "closed_at": _MAYBE_TIME,
    "close_reason": {"enum": [*(r.value for r in CloseReason), None]},
    "mode": {"enum": ["takeover", "shadow", "holdout"]},
    "attempts_made": _COUNT,
    "next_action": {
        "oneOf": [
            {"type": "null"},
            _object({"kind": _TEXT, "at": _TIME, "payment_method": _MAYBE_TEXT}),
        ]
    },
    "clock": _object({"test_clock": _MAYBE_TEXT, "now": _TIME}),
    "policy_version": _TEXT,
    "deadline_at": _TIME,
}
_MAYBE_SHARE: dict[str, Any] = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
_SHARE: dict[str, Any] = {"type": "number", "minimum": 0, "maximum": 1}
_ARMS = _object(dict.fromkeys(("treated", "holdout"), _COUNT))
_COUNTED = {
    "cases": _object(dict.fromkeys(("failed", "recovered", "lost", "open"), _COUNT)),
    "rate": _MAYBE_SHARE,
    "money": {
        "type": "object",
        "description": "by currency, minor units, of the cases that are over",
        "additionalProperties": _object(
            dict.fromkeys(("failed", "recovered", "cost", "discounts"), _AMOUNT)
        ),
    },
}
_SPLIT: dict[str, Any] = {
    "type": "array",
    "items": _object(
        {"key": _TEXT, "failed": _COUNT, "recovered": _COUNT, "rate": _MAYBE_SHARE},
    ),
}
_SCHEMAS: dict[str, Any] = {
    "Lift": _object(
        {
            "verdict": {"enum": [v.value for v in LiftVerdict]},
            "rate_difference": {"type": ["number", "null"], "minimum": -1, "maximum": 1},
            "interval": {
                "type": "array",
                "items": {"type": "number", "minimum": -1, "maximum": 1},
                "minItems": 2,
                "maxItems": 2,
            },
            "customers": _ARMS,
            "recovered": _ARMS,
            "maturing": _COUNT,
            "more_cases_needed": _COUNT,
            "sample_ratio_p": _SHARE,
        }
    ),
    "Report": _object(
        {
            "since": _MAYBE_TIME,
            "until": _TIME,
            "account": _MAYBE_TEXT,
            **_COUNTED,
            "total": {"type": ["object", "null"], "description": "in the reporting currency"},
            "lift": {"oneOf": [{"type": "null"}, _ref("Lift")]},
            "by": _object(dict.fromkeys(("decline_code", "method", "attempt", "country"), _SPLIT)),
            "recovered_through": {
                "type": "array",
                "items": _object({"key": _TEXT, "recovered": _COUNT, "share": _MAYBE_SHARE}),
            },
            "cohorts": {
                "type": "array",
                "items": _object(
                    {
                        "month": _TEXT,
                        "failed": _COUNT,
                        "recovered": _COUNT,
                        "open": _COUNT,
                        "mature": {"type": "boolean"},
                    }
                ),
            },
            "apart": _object(dict.fromkeys(("shadow", "holdout"), _object(_COUNTED))),
            "denominators": {"type": "object", "additionalProperties": _TEXT},
        }
    ),
    "Case": _object(_CASE),
    "WholeCase": _object(
        {
            **_CASE,
            "attempts": _list_of("Attempt"),
            "decisions": _list_of("Decision"),
            "messages": {"type": "array"},
            "offers": _list_of("Offer"),
            "changes": _list_of("Change"),
            "overrides": _list_of("OverrideRecord"),
            "transitions": _list_of("Transition"),
        }
    ),
    "Offer": _object(
        {
            "at": _TIME,
            "amount": _COUNT,
            "currency": _TEXT,
            "state": {"enum": ["open", "taken", "expired"]},
            "detail": {"enum": [s.value for s in OfferState]},
            "way": {"enum": [w.value for w in Way]},
            "until": _TIME,
            "taken_at": _MAYBE_TIME,
            "pay_until": _MAYBE_TIME,
            "given_as": _MAYBE_TEXT,
            "error": _MAYBE_TEXT,
        }
    ),
    "Change": _object(
        {
            "at": _TIME,
            "kind": {"enum": [c.value for c in Change]},
            "until": _TIME,
            "worth": _COUNT,
            "currency": _TEXT,
            "state": {"enum": ["taking", "taken", "refused"]},
            "error": _MAYBE_TEXT,
        }
    ),
    "Attempt": _object(
        {
            "number": _COUNT,
            "at": _TIME,
            "payment_method": _MAYBE_TEXT,
            "source": {"enum": [s.value for s in Source]},
            "outcome": {"enum": [o.value for o in Outcome]},
            "decline_code": _MAYBE_TEXT,
            "advice_code": _MAYBE_TEXT,
            "network_advice_code": _MAYBE_TEXT,
            "network_decline_code": _MAYBE_TEXT,
            "idempotency_key": _MAYBE_TEXT,
        }
    ),
    "Decision": _object(
        {
            "at": _TIME,
            "kind": _TEXT,
            "retry_at": _MAYBE_TIME,
            "payment_method": _MAYBE_TEXT,
            "success_probability": {"type": ["number", "null"]},
            "expected_value": _AMOUNT,
            "propensity": {"type": "number"},
            "policy_version": _TEXT,
            "model_version": _TEXT,
            "carried_out": {"type": "boolean"},
            "explanation": {"type": "array"},
            "candidates": {"type": "array"},
        }
    ),
    "Explanation": _object(
        {
            "case": _TEXT,
            "state": {"enum": [s.value for s in CaseState]},
            "timezone": {**_TEXT, "description": "the customer's, IANA"},
            "decision": {
                "oneOf": [{"type": "null"}, _ref("Decision")],
                "description": "the last one; its own `model_version` says who decided",
            },
            "last_charge": {
                "oneOf": [
                    {"type": "null"},
                    _object(
                        {
                            "at": _TIME,
                            "payment_method": _MAYBE_TEXT,
                            "outcome": {"enum": [o.value for o in Outcome]},
                            "decline_code": _MAYBE_TEXT,
                            "requested_by": _MAYBE_TEXT,
                            "decision": {"oneOf": [{"type": "null"}, _ref("Decision")]},
                        }
                    ),
                ],
                "description": "the engine's newest charge, and who wanted it: a person or that "
                "decision",
            },
            "model_version": {
                **_TEXT,
                "description": "whose chances `curves` and `asked` are. The web process loads no "
                "learnt model: here it is the documented prior; at the terminal, `cases explain` "
                "answers by the model that decides",
            },
            "deciding_model": {**_TEXT, "description": "the model that the workers decide by"},
            "curves": {
                "type": "array",
                "items": _object(
                    {
                        "payment_method": _TEXT,
                        "method": {**_TEXT, "description": "in words"},
                        "at": {"type": "array", "items": _TIME},
                        "success_probability": {"type": "array", "items": {"type": "number"}},
                        "permitted": {"type": "array", "items": {"type": "boolean"}},
                    }
                ),
            },
            "asked": _ref("Asked"),
        },
        optional=("asked",),
    ),
    "Asked": _object(
        {
            "at": _TIME,
            "payment_method": _MAYBE_TEXT,
            "success_probability": {
                "type": ["number", "null"],
                "description": "of a charge then, permitted or not; null beyond the case's horizon",
            },
            "permitted": {
                "type": "boolean",
                "description": "whether the engine would charge then, were it to choose so",
            },
            "forbidden_by": {
                **_MAYBE_TEXT,
                "description": "the rule, or case_closed, case_paused, case_in_review, holdout, "
                "engine_paused, no_payment_method",
            },
            "forbidden_until": {
                **_MAYBE_TIME,
                "description": "from when on no rule forbids it any more; null where only "
                "something else than time can change it",
            },
            "difference": {
                "type": ["number", "null"],
                "description": "percentage points, the asked moment's chance less the chosen "
                "one's: -12 is 12 points lower. null where no charge is planned",
            },
            "reason": {**_MAYBE_TEXT, "description": "why it is forbidden, as a sentence"},
            "overridable": {
                "type": "boolean",
                "description": "only the engine's own pacing is against it: a person may",
            },
            "chosen": {
                "oneOf": [
                    {"type": "null"},
                    _object(
                        {
                            "at": _TIME,
                            "payment_method": _TEXT,
                            "success_probability": {"type": "number"},
                        }
                    ),
                ]
            },
            "explanation": {
                "type": "array",
                "items": _object({"text": _TEXT, "points": {"type": ["number", "null"]}}),
                "description": "what makes the difference; points by a learnt model only",
            },
        }
    ),
    "AfterOverride": {
        "allOf": [
            _ref("WholeCase"),
            _object({"warnings": {"type": "array", "items": _TEXT}}),
        ]
    },
    "OverrideRecord": _object(
        {
            "at": _TIME,
            "by": _TEXT,
            "action": _TEXT,
            "reason": _TEXT,
            "before": {"type": "object"},
            "after": {"type": "object"},
        }
    ),
    "Transition": _object(
        {
            "at": _TIME,
            "name": _TEXT,
            "from": _MAYBE_TEXT,
            "to": _TEXT,
            "cause": _TEXT,
            "by": _MAYBE_TEXT,
        }
    ),
    "Review": _object(
        {
            "id": _TEXT,
            "case": _TEXT,
            "reason": _TEXT,
            "reasons": {"type": "array", "items": _TEXT},
            "amount": _AMOUNT,
            "currency": _TEXT,
            "opened_at": _TIME,
            "deadline_at": _TIME,
            "overdue": {"type": "boolean"},
            "proposal": {"type": ["object", "null"]},
            "state": {"enum": ["open", "approved", "rejected", "withdrawn"]},
            "decided_at": _MAYBE_TIME,
            "decided_by": _MAYBE_TEXT,
            "verdict_reason": _MAYBE_TEXT,
        }
    ),
    "Status": _object(
        {
            "inbox_pending": _COUNT,
            "actions_due": _COUNT,
            "actions_in_flight": _COUNT,
            "actions_planned": _COUNT,
            "cases_open": _COUNT,
            "cases_in_review": _COUNT,
            "paused": {"type": "boolean"},
            "mode": _TEXT,
            "model": _TEXT,
        }
    ),
    "PaymentOptions": _object(
        {
            "payment_method_order": {"type": "array", "items": _TEXT},
            "offer": {"type": ["object", "null"]},
        }
    ),
    "Standing": _object(
        {
            "in_recovery": {
                "type": "boolean",
                "description": "a case of theirs is not closed, in whatever state: also while it "
                "is paused, in review, waits for them or for a bank debit. In shadow and in the "
                "holdout too: Stripe retries there, but the payment has failed all the same, and "
                "who treats those customers otherwise compares two things at once",
            },
            "since": {**_MAYBE_TIME, "description": "when the oldest of the cases opened"},
            "amount": {
                "type": ["integer", "null"],
                "description": "minor units still owed, summed over the cases in `currency`",
            },
            "currency": {
                **_MAYBE_TEXT,
                "description": "of the oldest case; what is owed in another is not in `amount`, "
                "its cases are in `cases`",
            },
            "next_try": {
                **_MAYBE_TIME,
                "description": "when a saved method is charged next, the earliest over the cases: "
                "by the engine, in shadow and in the holdout by Stripe, on each case's own clock. "
                "null where no charge is planned: also while the engine or the case is paused",
            },
            "gives_up_at": {
                **_MAYBE_TIME,
                "description": "when the last of the cases has reached its horizon: a period of "
                "grace until then ends no earlier than the engine's work",
            },
            "link": {
                **_MAYBE_TEXT,
                "description": "the page of the last letter about the oldest case that may be "
                "paid there. null where none was written or none may be, and where the policy's "
                "letters lead elsewhere. Whoever has it may see and pay the bill: show it to this "
                "customer alone",
            },
            "cases": {"type": "array", "items": _TEXT, "description": "ids, the oldest first"},
        }
    ),
    "Switch": _object({"paused": {"type": "boolean"}, "reason": _TEXT, "by": _TEXT, "at": _TIME}),
    "SwitchAsItStands": _object(
        {
            "paused": {"type": "boolean"},
            "reason": _MAYBE_TEXT,
            "by": _MAYBE_TEXT,
            "at": _MAYBE_TIME,
        }
    ),
    "EngineAct": _object(
        {
            "at": _TIME,
            "by": _TEXT,
            "action": _TEXT,
            "subject": _TEXT,
            "reason": _TEXT,
            "before": {"type": "object"},
            "after": {"type": "object"},
        }
    ),
    "Suppressed": _object({"suppressed": {"const": True}}),
    "Lifted": _object({"suppressed": {"const": False}}),
    "Problem": _object(
        {"type": _TEXT, "title": _TEXT, "status": {"type": "integer"}, "detail": _TEXT}
    ),
}


def _page(schema: str) -> dict[str, Any]:
    return _object(
        {"data": _list_of(schema), "has_more": {"type": "boolean"}, "next_cursor": _MAYBE_TEXT}
    )


def _parameter(name: str, schema: dict[str, Any], *, place: str = "query") -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": schema}


_LIMIT = _parameter("limit", {"type": "integer", "minimum": 1, "maximum": 200, "default": 50})
_CURSOR = _parameter("cursor", _TEXT)


def _operation(
    summary: str,
    answer: dict[str, Any],
    *,
    parameters: tuple[dict[str, Any], ...] = (),
    body: str | None = None,
) -> dict[str, Any]:
    errors = ("400", "401", "403", "404", "422", "429", "503", *(("409",) if body else ()))
    problem = {"application/problem+json": {"schema": _ref("Problem")}}
    operation: dict[str, Any] = {
        "summary": summary,
        "parameters": list(parameters),
        "responses": {
            "200": {"description": "done", "content": {"application/json": {"schema": answer}}},
            **{code: {"description": "refused", "content": problem} for code in errors},
        },
    }
    if body is not None:
        content = {"application/json": {"schema": _ref(body)}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


_CASE_ID = _parameter("case", {"type": "string", "description": "case_… or in_…"}, place="path")
_REVIEW_ID = _parameter("review", _TEXT, place="path")
_PATHS: dict[str, Any] = {
    "/api/openapi.json": {"get": _operation("This document", {"type": "object"})},
    "/api/status": {"get": _operation("How much work there is", _ref("Status"))},
    "/api/cases": {
        "get": _operation(
            "Cases, newest first",
            _page("Case"),
            parameters=(
                _parameter("state", {"enum": [s.value for s in CaseState]}),
                _parameter("customer", _TEXT),
                _LIMIT,
                _CURSOR,
            ),
        )
    },
    "/api/cases/{case}": {
        "get": _operation("One case with its history", _ref("WholeCase"), parameters=(_CASE_ID,))
    },
    "/api/cases/{case}/explain": {
        "get": _operation(
            "Why the engine decided what it did; with a moment or a method, why not then or on "
            "that",
            _ref("Explanation"),
            parameters=(
                _CASE_ID,
                _parameter("at", {**_TIME, "description": "not past; else the chosen moment"}),
                _parameter(
                    "payment_method",
                    {**_TEXT, "description": "one of the customer's; else the chosen one"},
                ),
            ),
        )
    },
    "/api/cases/{case}/override": {
        "post": _operation(
            "Do something to a case",
            _ref("AfterOverride"),
            parameters=(_CASE_ID,),
            body="Override",
        )
    },
    "/api/report": {
        "get": _operation(
            "What was recovered of what failed, and whether it can be told what that is due to",
            _ref("Report"),
            parameters=(
                _parameter("since", {**_TEXT, "description": "opened from then on: day or time"}),
                _parameter("until", {**_TEXT, "description": "opened before then: day or time"}),
                _parameter("account", {**_TEXT, "pattern": "^acct_[A-Za-z0-9_]+$"}),
            ),
        )
    },
    "/api/reviews": {
        "get": _operation(
            "What waits for a person",
            _page("Review"),
            parameters=(_parameter("state", _TEXT), _LIMIT, _CURSOR),
        )
    },
    "/api/reviews/{review}": {
        "post": _operation(
            "Decide a review", _ref("Review"), parameters=(_REVIEW_ID,), body="Verdict"
        )
    },
    "/api/customers/{customer}/payment-options": {
        "get": _operation(
            "What Stripe's Payment Element gets for this customer",
            _ref("PaymentOptions"),
            parameters=(_parameter("customer", _TEXT, place="path"),),
        )
    },
    "/api/customers/{customer}/standing": {
        "get": _operation(
            "Whether this customer is in recovery, for periods of grace and banners",
            _ref("Standing"),
            parameters=(
                _parameter("customer", _TEXT, place="path"),
                _parameter(
                    "account",
                    {
                        "type": "string",
                        "description": "acct_…; without it yours, or the connected one where "
                        "this customer has a case",
                    },
                ),
            ),
        )
    },
    "/api/suppressions": {
        "post": _operation(
            "Never write to an address again, as a bounce or a complaint asks for; "
            "of the address only a keyed hash is kept",
            _ref("Suppressed"),
            body="Suppression",
        )
    },
    "/api/suppressions/lift": {
        "post": _operation(
            "Let an address be written to again; where its owner asked for no more messages, only "
            "with `against_their_wish`",
            _ref("Lifted"),
            body="Lift",
        )
    },
    "/api/engine": {
        "post": _operation("Stop or restart everything", _ref("Switch"), body="EngineSwitch")
    },
    "/api/engine/log": {
        "get": _operation(
            "The switch as it stands, and who turned it, newest first",
            {"allOf": [_ref("SwitchAsItStands"), _page("EngineAct")]},
            parameters=(_LIMIT, _CURSOR),
        )
    },
}


def document(bodies: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    """The whole document; `bodies` are the request bodies' models by schema name."""
    requests = {
        name: model.model_json_schema(ref_template="#/components/schemas/{model}")
        for name, model in bodies.items()
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "retry-engine", "version": "1"},
        "paths": _PATHS,
        "components": {
            "schemas": {**_SCHEMAS, **requests},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": (
                        "viewer reads; operator acts; admin may also "
                        + "; ".join(f"{act} ({what})" for act, what in ADMINS_ONLY.items())
                    ),
                }
            },
        },
        "security": [{"token": []}],
    }
