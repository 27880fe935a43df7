"""The baselines' full training: TRADES-10 at 0.031 with SGD and a shifted cosine, pretraining and finetuning alike."""

from .settings import TrainSettings

PRETRAIN = TrainSettings(
    epochs=100,
    lr=0.1,
    lr_schedule="shifted-cosine",
    objective="trades",
    eps=0.031,
    alpha=0.0078,
    steps=10,
    beta=6.0,
)
FINETUNE = PRETRAIN.model_copy(update={"lr": 0.01})
