"""Methods through HF PEFT (`runtime = "peft"`): its own layers in transformers' forward, one named adapter per task.

PEFT is measured unchanged, as a user would deploy it. Added here: the choice of layers, seeds for its initialisation,
AdaLoRA's schedule (PEFT allows one trainable AdaLoRA adapter per model; here each task has its own allocator), and
PiSSA's shared residual.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from peftbench.errors import MissingError, PeftbenchError, UsageError
from peftbench.kernels.weight_only import components
from peftbench.library_logs import quieten
from peftbench.methods import options as o
from peftbench.methods.base import Method, ParameterGroup, faster_b
from peftbench.methods.peft_configs import new_config
from peftbench.seeds import derive_seed
from peftbench.text import clean

_REJECTIONS = (ValueError, TypeError, KeyError, AttributeError, NotImplementedError)

_FEWEST_STEPS = 2  # of AdaLoRA, before its ranks are final
_SENSITIVITIES = ("ipt", "exp_avg_ipt", "exp_avg_unc")  # state of AdaLoRA's allocator between steps


class PeftTuner(Method[o.MethodOptions]):
    """Any method that PEFT has a tuner for."""

    def attach(self, encoder: nn.Module, tasks: Sequence[str], seed: int) -> None:
        """Let PEFT add one adapter per task to the encoder, initialised from `seed`.

        Raises:
            MissingError: PEFT is not installed, or this version lacks the tuner.
            UsageError: PEFT rejects the configuration.
        """
        peft = peft_package()
        config = new_config(peft, self.options, encoder, seed)
        names = {task: _adapter(task) for task in tasks}
        first = names[tasks[0]]
        try:
            with _quiet_and_seeded(derive_seed(seed, "peft", tasks[0])):
                self.model = peft.get_peft_model(encoder, config, adapter_name=first)
            if self.model.peft_config[first].is_prompt_learning:
                raise UsageError(f"method {self.options.name}: PEFT's prompt methods change the input, not the encoder")
            base = {key: weight.clone() for key, weight in _base_weights(encoder).items()}
            for task in tasks[1:]:
                with _quiet_and_seeded(derive_seed(seed, "peft", task)):
                    self._add(config, names[task], first)
        except PeftbenchError:
            raise
        except Exception as error:
            if not isinstance(self.options, o.PeftOptions) and not isinstance(error, _REJECTIONS):
                raise
            raise UsageError(
                f"method {self.options.name}: peft {peft.__version__} rejects it: {clean(error, 300)}",
                "change the preset's [method] table",
            ) from error
        if moved := [key for key, weight in _base_weights(encoder).items() if not torch.equal(weight, base[key])]:
            name, _ = moved[0]
            raise UsageError(
                f"method {self.options.name}: initialising a second task's adapter changed {name}, shared by all",
                "run it with one task, or choose another initialisation",
            )
        if isinstance(self.options, o.PeftOptions):
            self._try_forward(encoder)
        self.names = names
        self.trained: list[nn.Parameter] = []
        for task in tasks:
            self.model.base_model.set_adapter(names[task])
            self.trained += [weight for weight in encoder.parameters() if weight.requires_grad]
        self.allocators = self._allocators()
        self.switch_mode(tasks[0])

    def _try_forward(self, encoder: nn.Module) -> None:
        """Compute one token, so that a tuner whose layers do not fit an encoder is refused before a run begins.

        Raises:
            UsageError: PEFT's layers fail.
        """
        training = encoder.training
        try:
            with torch.no_grad(), _quiet_and_seeded(0):
                encoder.eval()(input_ids=torch.ones(1, 1, dtype=torch.long), attention_mask=torch.ones(1, 1))
        except Exception as error:
            raise UsageError(
                f"method {self.options.name}: PEFT's layers for it do not compute a {type(encoder).__name__}: "
                f"{clean(f'{type(error).__name__}: {error}', 200)}",
                "what runs here: peftbench methods --check",
            ) from error
        finally:
            encoder.train(training)

    def _add(self, config: Any, name: str, first: str) -> None:
        """Add another task's adapter; where the first one's initialisation changed W, all start from its weights."""
        config = copy.deepcopy(config)
        shares_start = takes_from_base(config)
        if shares_start:
            config.init_lora_weights = False
        if isinstance(self.options, o.AdaLoraOptions):
            config.inference_mode = True  # PEFT allows one trainable adapter; `switch_mode` makes this one trainable
        self.model.add_adapter(name, config)
        if shares_start:
            weights = dict(self.model.named_parameters())
            for key, weight in weights.items():
                if f".{name}." in key:
                    weight.data.copy_(weights[key.replace(f".{name}.", f".{first}.")])

    def switch_mode(self, task: str) -> None:
        """Call PEFT's `set_adapter`, then restore `requires_grad`, which it clears for the other adapters."""
        self.model.base_model.set_adapter(self.names[task])
        for weight in self.trained:
            weight.requires_grad_(True)

    def merge(self, encoder: nn.Module, task: str) -> None:
        """PEFT's own merge; of modules trained as a whole PEFT keeps the active copy."""
        self.switch_mode(task)
        self.model.merge_and_unload(adapter_names=[self.names[task]])
        self.trained = []

    def mark(self, task: str) -> str:
        """Return a substring of PEFT's names of a task's weights."""
        return f".{_adapter(task)}."

    @property
    def adapted(self) -> tuple[str, ...]:
        """The names of the modules that PEFT's tuner replaced."""
        return tuple(self.model.base_model.targeted_module_names)

    def parameter_groups(self, weights: Mapping[str, nn.Parameter], lr: float) -> list[ParameterGroup]:
        """For LoRA+, group as PEFT's `create_loraplus_optimizer` does: B at `lr_ratio * lr`."""
        if isinstance(self.options, o.LoraPlusOptions):
            return faster_b(weights, lr, self.options.lr_ratio, "lora_B")
        return super().parameter_groups(weights, lr)

    def _allocators(self) -> dict[str, Any]:
        """Return AdaLoRA's rank allocators, one per task; empty for other methods."""
        if not isinstance(self.options, o.AdaLoraOptions):
            return {}
        from peft.tuners.adalora.layer import RankAllocator

        tuner = self.model.base_model
        self.steps = dict.fromkeys(self.names, 0)
        return {
            task: RankAllocator(tuner.model, self.model.peft_config[name], name) for task, name in self.names.items()
        }

    def plan(self, steps: Mapping[str, int]) -> None:
        """Set AdaLoRA's schedule for each task's number of steps, of which it takes fractions.

        Raises:
            UsageError: a task has too few steps to score its ranks before they are cut.
        """
        if isinstance(self.options, o.AdaLoraOptions):
            for task, allocator in self.allocators.items():
                config = allocator.peft_config
                config.total_step = steps[task]
                config.tinit = int(self.options.start * steps[task])
                config.tfinal = max(1, int(self.options.final * steps[task]))
                if 0 < config.total_step < config.tfinal + _FEWEST_STEPS:
                    raise UsageError(
                        f"method {self.options.name}: {config.total_step} steps of task {task} are too few: it scores "
                        f"its ranks in {_FEWEST_STEPS} of them at least before the last {config.tfinal}",
                        "train more epochs or examples, or use a smaller train.batch_size",
                    )

    def penalty(self, task: str) -> Tensor | None:
        """AdaLoRA: mean ||P^T P - I|| and ||Q Q^T - I|| (its eq. 4), weighted as in PEFT's own forward."""
        if not isinstance(self.options, o.AdaLoraOptions) or not self.options.orthogonal:
            return None
        mark = self.mark(task)
        terms = []
        for name, weight in self.model.named_parameters():
            if mark in f"{name}." and ("lora_A" in name or "lora_B" in name):
                gram = weight @ weight.T if "lora_A" in name else weight.T @ weight
                terms.append(torch.linalg.matrix_norm(gram - torch.eye(len(gram), device=gram.device)))
        return self.options.orthogonal * torch.stack(terms).mean()

    @property
    def needs_after_step(self) -> bool:
        """Whether there are ranks to allocate, as in AdaLoRA."""
        return bool(self.allocators)

    def after_step(self, task: str) -> None:
        """AdaLoRA: score the ranks and keep the best, as PEFT's `update_and_allocate` does for its single adapter."""
        allocator = self.allocators.get(task)
        if allocator is None:
            return
        self.steps[task] += 1
        config, model = allocator.peft_config, self.model.base_model.model
        last = config.total_step - config.tfinal
        if self.steps[task] < last:
            _, pattern = allocator.update_and_allocate(model, self.steps[task])
            config.rank_pattern = pattern or config.rank_pattern
        elif self.steps[task] == last:
            _, config.rank_pattern = allocator.update_and_allocate(model, self.steps[task], force_mask=True)
            allocator.reset_ipt()
        else:
            allocator.mask_using_rank_pattern(model, config.rank_pattern)

    def state(self) -> dict[str, Any]:
        """Return AdaLoRA's sensitivities and ranks; for an initialisation that changed W, also the remaining W."""
        state_dict: dict[str, Any] = {}
        if self.allocators:
            state_dict["steps"] = dict(self.steps)
            state_dict["allocators"] = {
                task: {name: dict(getattr(allocator, name)) for name in _SENSITIVITIES}
                | {"rank_pattern": dict(allocator.peft_config.rank_pattern or {})}
                for task, allocator in self.allocators.items()
            }
        if any(map(takes_from_base, self.model.peft_config.values())):
            state_dict["base"] = self._wrapped()
        return state_dict

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore such a state."""
        device = next(self.model.parameters()).device
        self.steps = dict(state.get("steps", {}))
        for task, kept in state.get("allocators", {}).items():
            allocator = self.allocators[task]
            for name in _SENSITIVITIES:
                setattr(allocator, name, {weight: value.to(device) for weight, value in kept[name].items()})
            allocator.peft_config.rank_pattern = dict(kept["rank_pattern"])
        base = state.get("base", {})
        for name, weight in self._wrapped().items() if base else ():
            weight.copy_(base[name])

    def _wrapped(self) -> dict[str, Tensor]:
        """Return the weights of the adapted base layers."""
        return {name: weight.data for name, weight in self.model.named_parameters() if ".base_layer." in name}


def takes_from_base(config: Any) -> bool:
    """Tell whether PEFT initialises such an adapter with a part of W, which it subtracts from W."""
    return str(getattr(config, "init_lora_weights", "")).startswith(("pissa", "olora"))


def peft_package(wanted_by: str = "runtime 'peft'") -> Any:
    """Return the package peft, imported lazily.

    Raises:
        MissingError: it is not installed; the message names what requires it.
    """
    quieten()
    try:
        import peft
    except ImportError as error:
        raise MissingError(f"{wanted_by} needs the package peft", "pip install 'peftbench[peft]'") from error
    return peft


def _adapter(task: str) -> str:
    """Return PEFT's name of a task's adapter, distinct from any module's, so that it identifies the weights."""
    return f"task-{task}"


def _base_weights(encoder: nn.Module) -> dict[tuple[str, int], Tensor]:
    """Return the weights outside all adapters, by name and number of the component (of one, but for torchao's)."""
    return {
        (name, number): part
        for name, weight in encoder.named_parameters()
        if ".task-" not in f".{name}."
        for number, part in enumerate(components(weight.data))
    }


@contextmanager
def _quiet_and_seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator, which PEFT draws from, and suppress PEFT's warnings, within a block."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        yield
