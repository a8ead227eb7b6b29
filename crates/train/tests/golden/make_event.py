"""An event with the numbers of one epoch, by TensorBoard's own message classes, as hexadecimal digits.

Usage: python make_event.py > event.hex   (needs tensorboard)
"""
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary

values = [("loss/train", -0.5), ("loss/validation", 0.125), ("dice/mean", 0.75), ("dice/moving_average", 0.5),
          ("learning_rate", 0.25), ("seconds", 2.0), ("dice/class_1", 0.75)]
summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values])
print(Event(wall_time=1.5, step=300, summary=summary).SerializeToString(deterministic=True).hex())
