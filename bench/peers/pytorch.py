"""PyTorch in eager mode: `python3 pytorch.py [--cuda] THREADS` answers the requests of task.ts."""
import sys

import torch
from densenet import DenseNet, noise, initial_weight
from serve import Workload, serve
from torch.nn import functional

DEVICE = "cuda" if "--cuda" in sys.argv else "cpu"
if DEVICE == "cuda":
    # Plain f32, as the others compute.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.zeros(1, device=DEVICE)


def finished(run):
    """`run`, awaited where the device computes apart from the host."""
    if DEVICE == "cpu":
        return run

    def run_to_the_end():
        result = run()
        torch.cuda.synchronize()
        return result

    return run_to_the_end


def squared_norms(tensors):
    return [tensor.detach().double().square().sum().item() for tensor in tensors]


def forward_or_backward(task, compute, inputs):
    """A workload of `compute(*inputs)`, or of the gradients of its inputs."""
    inputs = [tensor.to(DEVICE) for tensor in inputs]
    if task["part"] == "forward":

        def forward():
            with torch.no_grad():
                return [compute(*inputs)]

        return Workload(finished(forward), squared_norms)
    inputs = [tensor.requires_grad_() for tensor in inputs]
    y = compute(*inputs)
    gradient = noise(tuple(y.shape), seed=1).to(DEVICE)
    if task["part"] == "all":

        def everything():
            y = compute(*inputs)
            return [y, *torch.autograd.grad(y, inputs, gradient)]

        return Workload(finished(everything), squared_norms)
    targets = {"inputGradient": inputs[:1], "weightGradient": inputs[1:], "backward": inputs}[task["part"]]
    run = finished(lambda: torch.autograd.grad(y, targets, gradient, retain_graph=True))
    return Workload(run, squared_norms)


def conv2d(task):
    window = {"stride": task["stride"], "padding": task["padding"], "groups": task["groups"]}
    inputs = [noise(task["x"]), initial_weight(task["weight"])]
    return forward_or_backward(task, lambda x, weight: functional.conv2d(x, weight, **window), inputs)


def batch_norm(task):
    channels = task["x"][1]
    inputs = [noise(task["x"]), torch.ones(channels), torch.zeros(channels)]

    def compute(x, weight, bias):
        return functional.batch_norm(x, None, None, weight, bias, training=True)

    return forward_or_backward(task, compute, inputs)


def relu(task):
    return forward_or_backward(task, functional.relu, [noise(task["x"])])


def add(task):
    return forward_or_backward(task, torch.add, [noise(task["x"]), noise(task["x"])])


def pooling(function):
    def make(task):
        window = task["kernelSize"], task["stride"], task["padding"]
        return forward_or_backward(task, lambda x: function(x, *window), [noise(task["x"])])

    return make


def images_for(task):
    return noise((task["batch"], task["inChannels"], task["extent"], task["extent"])).to(DEVICE)


def parameters_of(model):
    return sum(parameter.numel() for parameter in model.parameters())


def step(task):
    model = DenseNet(task).to(DEVICE)
    optimizer = torch.optim.SGD(model.parameters(), lr=task["lr"], momentum=task["momentum"])
    images = images_for(task)
    labels = torch.arange(task["batch"], device=DEVICE) % task["classes"]

    def run():
        optimizer.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss

    return Workload(finished(run), lambda loss: [loss.item()], parameters_of(model))


def export(model, images, file):
    """Equal tensors would be written once and passed on by Identity nodes, which OpenCV cannot read."""
    with torch.no_grad():
        for i, tensor in enumerate(model.state_dict().values()):
            if tensor.is_floating_point():
                tensor.flatten()[0] += 1e-6 * i
    torch.onnx.export(model, images, file, opset_version=12)


def inference(task):
    model = DenseNet(task).eval().to(DEVICE)
    images = images_for(task)
    if "onnx" in task:
        export(model, images, task["onnx"])

    def run():
        with torch.no_grad():
            return [model(images)]

    return Workload(finished(run), squared_norms, parameters_of(model))


torch.set_num_threads(int(sys.argv[-1]))
serve(
    torch.__version__,
    {
        "conv2d": conv2d,
        "batchNorm": batch_norm,
        "relu": relu,
        "add": add,
        "maxPool2d": pooling(functional.max_pool2d),
        "avgPool2d": pooling(functional.avg_pool2d),
        "step": step,
        "inference": inference,
    },
)
