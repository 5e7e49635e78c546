"""What the objectives of preferences share."""

from typing import TYPE_CHECKING, Literal

from steps.contracts.records import Row
from steps.train.objectives.objective import Curve, Demand, LossKernel, Measure, Objective
from steps.train.objectives.sft import loss_kernel
from steps.train.settings import TrainSettings

if TYPE_CHECKING:
    from steps.train.row_form import RowForm

PairLoss = Literal["sigmoid", "ipo", "hinge"]

REWARD = "beta x nats"
ACCURACY = Measure("reward accuracy", "eval_rewards/accuracies")
MARGIN = Measure("reward margin", "eval_rewards/margins")
COURSE = (
    Curve("Learning rate", "learning rate", "learning_rate"),
    Curve("Gradient norm", "norm before clipping", "grad_norm"),
)
LIKELIHOODS = (
    Measure("log-probability of chosen answers", "eval_logps/chosen"),
    Measure("log-probability of rejected answers", "eval_logps/rejected"),
    Measure("chosen answer likelier per token", "eval_logps/accuracies"),
)


class PreferenceObjective(Objective):
    """Answers that are compared, or labelled; of a pair, both are encoded as they are generated."""

    @property
    def form(self) -> "RowForm":
        """Both answers of a pair."""
        from steps.train.answer_forms import Pairs

        return Pairs()

    def clashes(self, settings: TrainSettings) -> list[str]:
        """NEFTune's noise would be in the comparison."""
        if settings.neftune_noise_alpha is not None:
            return ["neftune_noise_alpha would add noise to answers that are compared; it is for sft"]
        return []

    def refusal(self, row: Row) -> str | None:
        """Whatever is no pair."""
        return None if row["kind"] == "preference" else str(row["kind"])


class ReferencedObjective(PreferenceObjective):
    """Answers as they are seen from the model that the phase starts from."""

    def demand(self, settings: TrainSettings) -> Demand:
        """What the reference says of each answer: by another forward pass, in each step or before the first one."""
        return Demand(reference="without adapter")

    def loss_kernel(self, device: str, vocab_size: int) -> LossKernel:
        """As sft's."""
        return loss_kernel("auto", device, vocab_size)
