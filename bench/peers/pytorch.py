"""The PyTorch side of `npm run bench -- --peers`: `python3 pytorch.py THREADS` serves requests, a JSON a line.

    {"make": "conv2d", "id": 1, "x": [8, 64, 56, 56], "weight": [64, 64, 3, 3], "stride": 1, "padding": 1,
     "gradients": true}
    {"make": "step", "id": 2, "blocks": [3, 3, 3], ...}      the fields of StepConfig in peer.ts
    {"run": 1}    answers {"milliseconds": ..., "result": [...]}
    {"drop": 1}   without an answer

Times are taken here, around the work alone, so that the pipe costs PyTorch nothing.
"""
import json
import sys
import time

import torch
from densenet import DenseNet, chirp, chirp_weight
from torch.nn import functional


def make_conv2d(request):
    gradients = request["gradients"]
    window = {"stride": request["stride"], "padding": request["padding"]}
    x = chirp(request["x"]).requires_grad_(gradients)
    weight = chirp_weight(request["weight"]).requires_grad_(gradients)
    with torch.no_grad():
        gradient = chirp(tuple(functional.conv2d(x, weight, **window).shape))

    def work():
        if not gradients:
            with torch.no_grad():
                return [functional.conv2d(x, weight, **window)]
        y = functional.conv2d(x, weight, **window)
        return [y, *torch.autograd.grad(y, (x, weight), gradient)]

    return work, lambda tensors: [tensor.detach().double().square().sum().item() for tensor in tensors]


def make_step(request):
    model = DenseNet(
        request["blocks"],
        request["growthRate"],
        request["bottleneckWidth"],
        request["stemChannels"],
        request["classes"],
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=request["lr"], momentum=request["momentum"])
    images = chirp((request["batch"], 1, request["extent"], request["extent"]))
    labels = torch.arange(request["batch"]) % request["classes"]

    def work():
        optimizer.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss

    return work, lambda loss: [loss.item()]


makers = {"conv2d": make_conv2d, "step": make_step}
workloads = {}


def answer(request):
    if "make" in request:
        workloads[request["id"]] = makers[request["make"]](request)
        return {}
    work, result = workloads[request["run"]]
    start = time.perf_counter()
    output = work()
    milliseconds = 1000 * (time.perf_counter() - start)
    return {"milliseconds": milliseconds, "result": result(output)}


def main():
    torch.set_num_threads(int(sys.argv[1]))
    print(json.dumps({"version": torch.__version__}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "drop" in request:
            del workloads[request["drop"]]
            continue
        try:
            reply = answer(request)
        except Exception as error:  # The other side prints it in the table.
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), flush=True)


main()
