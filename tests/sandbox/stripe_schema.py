"""JSON Schemas of Stripe's objects and parameters, derived from the installed stripe-python.

The library's classes are generated from Stripe's own specification; what they annotate is read
here from their source (most of it exists for type checkers only and not at run time).
"""

import ast
import importlib
import inspect
from functools import cache
from types import ModuleType
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.protocols import Validator

Schema = dict[str, Any]

_PLAIN: dict[str, Schema] = {
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "str": {"type": "string"},
    "bool": {"type": "boolean"},
    "Decimal": {"type": "string"},
    "Any": {},
    "None": {"type": "null"},
    "object": {},
}
_OF_OBJECT = {
    "invoice": "_invoice.Invoice",
    "invoice_payment": "_invoice_payment.InvoicePayment",
    "charge": "_charge.Charge",
    "card": "_card.Card",
    "token": "_token.Token",
    "cash_balance": "_cash_balance.CashBalance",
    "customer_cash_balance_transaction": (
        "_customer_cash_balance_transaction.CustomerCashBalanceTransaction"
    ),
    "plan": "_plan.Plan",
    "tax_rate": "_tax_rate.TaxRate",
    "invoiceitem": "_invoice_item.InvoiceItem",
    "subscription_item": "_subscription_item.SubscriptionItem",
    "credit_note_line_item": "_credit_note_line_item.CreditNoteLineItem",
    "application": "_application.Application",
    "payment_intent": "_payment_intent.PaymentIntent",
    "payment_method": "_payment_method.PaymentMethod",
    "customer": "_customer.Customer",
    "subscription": "_subscription.Subscription",
    "product": "_product.Product",
    "price": "_price.Price",
    "event": "_event.Event",
    "account": "_account.Account",
    "webhook_endpoint": "_webhook_endpoint.WebhookEndpoint",
    "dispute": "_dispute.Dispute",
    "radar.early_fraud_warning": "radar._early_fraud_warning.EarlyFraudWarning",
    "test_helpers.test_clock": "test_helpers._test_clock.TestClock",
    "refund": "_refund.Refund",
    "mandate": "_mandate.Mandate",
    "credit_note": "_credit_note.CreditNote",
    "scheduled_query_run": "sigma._scheduled_query_run.ScheduledQueryRun",
    "file": "_file.File",
    "coupon": "_coupon.Coupon",
    "promotion_code": "_promotion_code.PromotionCode",
    "discount": "_discount.Discount",
    "setup_intent": "_setup_intent.SetupIntent",
    "customer_session": "_customer_session.CustomerSession",
    "billing_portal.session": "billing_portal._session.Session",
}


class _Derivation:
    """Schemas by `module:Qualified.Name`; a class is read when it is first referred to."""

    def __init__(self) -> None:
        self.defs: dict[str, Schema] = {}

    def of(self, module: str, qualified: str) -> str:
        """The key of a class's schema."""
        key = f"{module}:{qualified}"
        if key not in self.defs:
            self.defs[key] = {}  # it may refer to itself
            self.defs[key].update(self._read(module, qualified))
        return key

    def _read(self, module: str, qualified: str) -> Schema:
        node = _class_node(module, qualified)
        strict = any(_name(b) in ("TypedDict", "RequestOptions") for b in node.bases)
        schema: Schema = {"type": "object", "properties": {}, "required": []}
        if strict:
            schema["additionalProperties"] = False
        for line in node.body:
            if not isinstance(line, ast.AnnAssign) or not isinstance(line.target, ast.Name):
                continue
            wire_name = line.target.id
            annotation = line.annotation
            if _outer(annotation) in ("ClassVar",) or wire_name.startswith("_"):
                continue
            optional = _outer(annotation) in ("Optional", "NotRequired")
            schema["properties"][_field(node, wire_name)] = self.schema(
                annotation, module, qualified
            )
            if not optional:
                schema["required"].append(_field(node, wire_name))
        return schema

    def schema(self, node: ast.expr, module: str, scope: str) -> Schema:
        """The schema of one annotation."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return self.schema(ast.parse(node.value, mode="eval").body, module, scope)
        if isinstance(node, ast.Constant) and node.value is None:
            return {"type": "null"}
        if isinstance(node, ast.BinOp):
            sides = (node.left, node.right)
            return {"anyOf": [self.schema(side, module, scope) for side in sides]}
        if isinstance(node, ast.Subscript):
            return self._generic(node, module, scope)
        return self._class(_name(node), module, scope)

    def _generic(self, node: ast.Subscript, module: str, scope: str) -> Schema:
        outer = _name(node.value)
        inside = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if outer == "Literal":
            # the words are known ones; open enums add `str` beside them
            return {"enum": [ast.literal_eval(word) for word in inside]}
        inner = [self.schema(one, module, scope) for one in inside]
        if outer == "Optional":
            return {"anyOf": [*inner, {"type": "null"}]}
        if outer == "Union":
            return {"anyOf": inner}
        if outer == "ExpandableField":
            return {"anyOf": [{"type": "string"}, *inner]}
        if outer in ("List", "list"):
            return {"type": "array", "items": inner[0]}
        if outer in ("Dict", "dict", "UntypedStripeObject"):
            return {"type": "object", "additionalProperties": inner[-1]}
        if outer == "ListObject":
            return _list_of(inner[0])
        if outer == "NotRequired":
            return inner[0]
        raise AssertionError(f"{outer} in {module}:{scope}")

    def _class(self, name: str, module: str, scope: str) -> Schema:
        if name in _PLAIN:
            return dict(_PLAIN[name])
        tree = _tree(module)
        steps = scope.split(".")
        for depth in range(len(steps), -1, -1):
            candidate = ".".join([*steps[:depth], name])
            if candidate in tree:
                return {"$ref": f"#/$defs/{self.of(module, candidate)}"}
        origin = _imports(module).get(name)
        if origin is None:
            return {"type": "object"}
        if origin[0] == "stripe._stripe_object":
            return {"type": "object"}
        return {"$ref": f"#/$defs/{self.of(*origin)}"}


def _list_of(row: Schema) -> Schema:
    return {
        "type": "object",
        "properties": {
            "object": {"const": "list"},
            "data": {"type": "array", "items": row},
            "has_more": {"type": "boolean"},
            "url": {"type": "string"},
        },
        "required": ["object", "data", "has_more", "url"],
    }


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Subscript):
        return _name(node.value)
    return ast.unparse(node).strip("\"'")


def _outer(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _outer(ast.parse(node.value, mode="eval").body)
    return _name(node) if isinstance(node, ast.Subscript) else ""


def _field(node: ast.ClassDef, name: str) -> str:
    """Names that are Python keywords carry an underscore in the library."""
    return name.rstrip("_") if name in ("from_", "type_") else name


@cache
def _module(module: str) -> ModuleType:
    return importlib.import_module(module)


@cache
def _tree(module: str) -> dict[str, ast.ClassDef]:
    found: dict[str, ast.ClassDef] = {}

    def walk(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef):
                found[prefix + node.name] = node
                walk(node.body, f"{prefix}{node.name}.")

    walk(ast.parse(inspect.getsource(_module(module))).body, "")
    return found


@cache
def _imports(module: str) -> dict[str, tuple[str, str]]:
    nodes = ast.walk(ast.parse(inspect.getsource(_module(module))))
    return {
        alias.asname or alias.name: (node.module, alias.name)
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("stripe")
        for alias in node.names
    }


def _class_node(module: str, qualified: str) -> ast.ClassDef:
    return _tree(module)[qualified]


@cache
def validator(module: str, name: str) -> Validator:
    """A validator of one class of stripe-python."""
    derivation = _Derivation()
    key = derivation.of(module, name)
    return Draft202012Validator({"$ref": f"#/$defs/{key}", "$defs": derivation.defs})


def object_errors(thing: dict[str, Any]) -> list[str]:
    """What is wrong with an API object, empty where nothing is."""
    kind = thing["object"]
    if kind == "list":
        return [error for row in thing["data"] for error in object_errors(row)]
    if thing.get("deleted"):
        return []
    module, _, name = f"stripe.{_OF_OBJECT[kind]}".rpartition(".")
    return _errors(validator(module, name), thing, kind)


def params_errors(name: str, params: dict[str, Any]) -> list[str]:
    """What is wrong with a request's typed parameters; `name` is of `stripe.params`."""
    parameters = getattr(importlib.import_module("stripe.params"), name)
    return _errors(validator(parameters.__module__, name), params, name)


def _errors(check: Validator, thing: dict[str, Any], name: str) -> list[str]:
    return [
        f"{name}.{'.'.join(str(p) for p in error.absolute_path)}: {error.message[:200]}"
        for error in check.iter_errors(thing)
    ]


def required_fields(kind: str) -> set[str] | None:
    """The fields that an object always has; None for kinds that the sandbox does not have."""
    if kind not in _OF_OBJECT:
        return None
    module, _, name = f"stripe.{_OF_OBJECT[kind]}".rpartition(".")
    derivation = _Derivation()
    return set(derivation.defs[derivation.of(module, name)]["required"])


_VERBS = {
    ("GET", False): "List",
    ("GET", True): "Retrieve",
    ("POST", False): "Create",
    ("POST", True): "Update",
    ("DELETE", True): "Delete",
}
_NAMES = {
    "subscriptions": "Subscription",
    "invoices": "Invoice",
    "customers": "Customer",
    "charges": "Charge",
    "events": "Event",
    "payment_methods": "PaymentMethod",
    "payment_intents": "PaymentIntent",
    "invoice_payments": "InvoicePayment",
    "products": "Product",
    "prices": "Price",
    "webhook_endpoints": "WebhookEndpoint",
    "refunds": "Refund",
    "disputes": "Dispute",
    "credit_notes": "CreditNote",
    "invoiceitems": "InvoiceItem",
    "files": "File",
    "coupons": "Coupon",
    "promotion_codes": "PromotionCode",
    "setup_intents": "SetupIntent",
    "customer_sessions": "CustomerSession",
}


def parameters_of(method: str, pattern: str) -> set[str] | None:
    """The parameters that the library's types know for a route; None where there is no type."""
    steps = pattern.removeprefix("/v1/").split("/")
    resource, rest = _NAMES.get(steps[0]), steps[1:]
    if rest == ["preview"]:
        rest = ["*", "preview"]
    if resource is None or len(rest) > 2:
        return None
    action = rest[1].title().replace("_", "") if len(rest) == 2 else _VERBS[method, bool(rest)]
    action = {"Finalize": "FinalizeInvoice", "Void": f"Void{resource}"}.get(action, action)
    parameters = getattr(
        importlib.import_module("stripe.params"), f"{resource}{action}Params", None
    )
    if parameters is None:
        return None
    tree = _tree(parameters.__module__)[parameters.__name__]
    return {
        line.target.id
        for line in tree.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
    }
