#!/usr/bin/env python3
"""Speed of l4sllm through libtorch, compared with the same model in Python.

    bench-train.py L4SLLM [--rounds N] [--seconds S] [--threads 1 2] [--cases NAME...]
                          [--what training decisions]

Runs with a Python that has torch, transformers and peft; L4SLLM is a program
with libtorch.  Both have the same model: encoder, GPT-2, head; f32.  They train
it, with AdamW in one fused kernel, gradients clipped at 0.25, no dropout but
LoRA's 0.05; and they decide on one window at a time, from numbers in memory to
probabilities in memory.  They take turns of a few seconds, so that what
disturbs one disturbs the other; the medians count.
"""
import argparse
import json
import statistics
import subprocess
import sys
import time

try:
    import peft
    import torch
    import transformers
except ImportError as missing:
    print(f"bench-train: this Python lacks {missing.name}: "
          "pip install torch transformers peft, or name another with PYTHON=")
    sys.exit(77)

# Eight features and 20 records: 200 tokens.
FEATURES, WINDOW, ENCODER = 8, 20, 16
TOKENS = WINDOW * (FEATURES + 2)
SMALL = dict(layers=4, width=128, heads=4, batch=32)
GPT2 = dict(layers=12, width=768, heads=12, batch=2)
CASES = {
    "small-full": dict(SMALL, rank=0),
    "small-lora16": dict(SMALL, rank=16),
    "gpt2-full": dict(GPT2, rank=0),
    "gpt2-lora128": dict(GPT2, rank=128),
}


class Model(torch.nn.Module):
    """The published model over GPT-2, as a Python programmer writes it."""

    def __init__(self, case):
        super().__init__()
        d = case["width"]
        self.back = torch.nn.Linear(1, d)
        self.action = torch.nn.Linear(1, d)
        self.time = torch.nn.Embedding(WINDOW, d)
        self.paths = torch.nn.ModuleList(
            torch.nn.Sequential(torch.nn.Linear(1, ENCODER), torch.nn.LeakyReLU(),
                                torch.nn.Linear(ENCODER, d))
            for _ in range(FEATURES))
        self.norm = torch.nn.LayerNorm(d)
        self.head = torch.nn.Linear(d, 3)
        config = transformers.GPT2Config(
            vocab_size=1, n_layer=case["layers"], n_embd=d, n_head=case["heads"],
            n_positions=1024, bos_token_id=None, eos_token_id=None,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False)
        self.backbone = transformers.GPT2Model(config)
        self.backbone.set_attn_implementation("sdpa")
        if case["rank"]:
            self.backbone = peft.get_peft_model(self.backbone, peft.LoraConfig(
                r=case["rank"], lora_alpha=32, lora_dropout=0.05,
                target_modules=["c_attn"], fan_in_fan_out=True))

    def forward(self, returns, features, actions):
        batch = returns.shape[0]
        states = torch.stack([path(features[:, :, i:i + 1])
                              for i, path in enumerate(self.paths)], dim=2)
        actions = (actions.float().unsqueeze(-1) + 1) / 3
        tokens = torch.cat([self.back(returns.unsqueeze(-1)).unsqueeze(2), states,
                            self.action(actions).unsqueeze(2)], dim=2)
        tokens = tokens + self.time.weight[None, :, None, :]
        embeds = self.norm(tokens.view(batch, TOKENS, -1))
        hidden = self.backbone(inputs_embeds=embeds).last_hidden_state
        hidden = hidden.view(batch, WINDOW, FEATURES + 2, -1)[:, :, FEATURES]
        return self.head(hidden)


class Theirs:
    def __init__(self, case, threads):
        torch.set_num_threads(threads)
        torch.manual_seed(1)
        self.case = case
        self.model = Model(case).train()
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.parameters = sum(p.numel() for p in trained)
        self.trained = trained
        self.optimiser = torch.optim.AdamW(trained, lr=1e-4, weight_decay=1e-4, fused=True)

    def step(self):
        batch = self.case["batch"]
        returns = torch.randn(batch, WINDOW)
        features = torch.randn(batch, WINDOW, FEATURES)
        actions = torch.randint(3, (batch, WINDOW))
        logits = self.model(returns, features, actions)
        loss = torch.nn.functional.cross_entropy(logits.view(-1, 3), actions.view(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 0.25)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return loss.item()

    def turn(self, seconds):
        """Tokens/s of training."""
        steps, began = 0, time.perf_counter()
        while steps == 0 or time.perf_counter() - began < seconds:
            self.step()
            steps += 1
        return steps * self.case["batch"] * TOKENS / (time.perf_counter() - began)


class TheirDecisions:
    def __init__(self, case, threads):
        torch.set_num_threads(threads)
        torch.manual_seed(1)
        self.model = Model(case).eval()
        self.parameters = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        self.window = (torch.randn(1, WINDOW), torch.randn(1, WINDOW, FEATURES),
                       torch.randint(3, (1, WINDOW)))

    @torch.inference_mode()
    def decide(self):
        return torch.softmax(self.model(*self.window)[0, -1], dim=-1).tolist()

    def turn(self, seconds):
        """Median time of a decision, ms."""
        times, began = [], time.perf_counter()
        while not times or time.perf_counter() - began < seconds:
            start = time.perf_counter()
            self.decide()
            times.append(1e3 * (time.perf_counter() - start))
        return statistics.median(times)


class Ours:
    def __init__(self, program, case, threads, seconds, what="training"):
        command = [program, "bench", "training", "--format", "json", "--paced",
                   "--features", "8", "--window", str(WINDOW), "--threads", str(threads),
                   "--turn", f"{seconds}s", "--lora-rank", str(case["rank"])]
        for key in ("layers", "width", "heads", "batch"):
            command += [f"--{key}", str(case[key])]
        if what == "decisions":
            command.append("--decisions")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def turn(self):
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"bench-train: l4sllm bench ended with {self.process.wait()}")
        return json.loads(line)

    def end(self):
        self.process.stdin.close()
        self.process.wait()


# Compared values: Python's class, l4sllm's figure, its unit and
# digits.
KINDS = {
    "training": (Theirs, "tokens_per_s", "tokens/s", 0),
    "decisions": (TheirDecisions, "p50_ms", "p50 in ms", 2),
}


def compare(program, name, what, threads, rounds, seconds):
    case = CASES[name]
    ours = Ours(program, case, threads, seconds, what)
    side, key, _, _ = KINDS[what]
    theirs = side(case, threads)
    # The first turn of each side is a warm-up.
    theirs.turn(0)
    warm = ours.turn()
    pairs = []
    for _ in range(rounds):
        pairs.append((ours.turn()[key], theirs.turn(seconds)))
    ours.end()
    mine, other = (statistics.median(side) for side in zip(*pairs))
    # Above 1 is faster, whether the figure is tokens or time.
    ratios = [b / a if what == "decisions" else a / b for a, b in pairs]
    return {"case": name, "what": what, "threads": threads,
            "batch": 1 if what == "decisions" else case["batch"],
            "trained": warm["trainable_parameters"], "trained_python": theirs.parameters,
            key: mine, f"{key}_python": other,
            "ratio": statistics.median(ratios), "ratios": ratios}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--what", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if not args.json:
        print(f"torch {torch.__version__}, transformers {transformers.__version__}, "
              f"peft {peft.__version__}; {TOKENS} tokens a window; medians of {args.rounds} turns")
    for what in args.what:
        table(args, what)


def table(args, what):
    _, key, unit, digits = KINDS[what]
    if not args.json:
        print(f"{what + ', ' + unit:<22}{'threads':>8}{'batch':>7}{'trained':>12}"
              f"{'l4sllm':>11}{'Python':>11}{'ratio':>7}")
    worst = None
    for name in args.cases:
        for threads in args.threads:
            row = compare(args.program, name, what, threads, args.rounds, args.seconds)
            worst = min(worst or row["ratio"], row["ratio"])
            if args.json:
                print(json.dumps(row), flush=True)
            else:
                print(f"{name:<22}{threads:>8}{row['batch']:>7}{row['trained']:>12}"
                      f"{row[key]:>11.{digits}f}{row[key + '_python']:>11.{digits}f}"
                      f"{row['ratio']:>7.2f}", flush=True)
    if not args.json:
        met = "met" if worst >= 1.0 else "missed"
        print(f"{what}: {worst:.2f} times as fast as Python's at least (aim 1.0: {met})")


if __name__ == "__main__":
    main()
