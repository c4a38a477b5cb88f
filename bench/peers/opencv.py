"""OpenCV's DNN module on the CPU: `python3 opencv.py THREADS` answers the requests of task.ts for inference."""
import sys

import cv2
import numpy
from noise import noise
from serve import Workload, serve


def inference(task):
    network = cv2.dnn.readNetFromONNX(task["onnx"])
    shape = (task["batch"], task["inChannels"], task["extent"], task["extent"])
    images = noise(shape)

    def run():
        network.setInput(images)
        return network.forward()

    return Workload(run, lambda output: [float(numpy.square(output, dtype=numpy.float64).sum())])


cv2.setNumThreads(int(sys.argv[1]))
serve(cv2.__version__, {"inference": inference})
