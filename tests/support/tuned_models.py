"""Models made of another one, without training."""

from steps.engines.lm.folder import model_folder


def adapted(base, folder):
    """An adapter with weights large enough to change every answer."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(base.path)
    model = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    AutoTokenizer.from_pretrained(base.path).save_pretrained(folder)
    return model_folder(
        folder, kind="adapter", base=base.info.base, parameters=base.info.parameters, trainable=1, dataset_digest="d"
    )


def full_weights(base, adapter, folder):
    """The adapter's weights merged into the base's."""
    from steps.engines.lm.load import load

    loaded = load(base, adapter)
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return model_folder(folder, kind="full", base=base.info.base, parameters=base.info.parameters, trainable=1)
