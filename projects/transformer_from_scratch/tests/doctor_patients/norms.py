"""Layer norm and RMS norm with a switch for each known bug. Loaded by path, as a learner's file."""

import torch
from torch import nn


class MyLayerNorm(nn.Module):
    def __init__(self, features, eps=1e-5, bug=""):
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.ones(features)), nn.Parameter(torch.zeros(features))
        self.eps, self.bug = eps, bug

    def forward(self, x):
        axis = {"norm_wrong_axis": 1, "batch": 0}.get(self.bug, -1)
        mean = 0 if self.bug == "norm_not_centred" else x.mean(axis, keepdim=True)
        variance = x.var(axis, keepdim=True, unbiased=self.bug == "norm_unbiased")
        spread = variance.sqrt() + self.eps if self.bug == "norm_eps_outside" else (variance + self.eps).sqrt()
        return (x - mean) / spread * self.gamma + self.beta


class AnnotatedLayerNorm(nn.Module):
    """The Annotated Transformer's: unbiased, and eps outside the root."""

    def __init__(self, features, eps=1e-6):
        super().__init__()
        self.a_2, self.b_2, self.eps = (
            nn.Parameter(torch.ones(features)),
            nn.Parameter(torch.zeros(features)),
            eps,
        )

    def forward(self, x):
        return self.a_2 * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + self.eps) + self.b_2


class MyRMSNorm(nn.Module):
    def __init__(self, dim, eps=1e-6, bug=""):
        super().__init__()
        self.weight, self.eps, self.bug = nn.Parameter(torch.ones(dim)), eps, bug

    def forward(self, x):
        square = x.pow(2).mean(-1, keepdim=True)
        root = square.sqrt() + self.eps if self.bug == "norm_eps_outside" else (square + self.eps).sqrt()
        return x / root * self.weight
