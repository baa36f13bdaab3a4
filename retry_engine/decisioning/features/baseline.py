"""The documented prior's own reading: where nothing was learnt yet, it speaks."""

from retry_engine.decisioning.features.context import FeatureContext
from retry_engine.decisioning.features.registry import Group, Value
from retry_engine.decisioning.features.words import from_log_hazard
from retry_engine.decisioning.prior import PriorModel, log_hazard

GROUP = Group()
_PRIOR = PriorModel()


@GROUP.feature("the documented prior", "what is generally known of such declines", from_log_hazard)
def _prior_hazard(context: FeatureContext) -> Value:
    """Log hazard of a success by the documented prior."""
    return log_hazard(_PRIOR.success_probability(context.view, context.method, context.slots))
