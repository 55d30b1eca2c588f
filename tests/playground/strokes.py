"""Drawings as a person would make them: strokes of points from 0 to 1, y downwards."""

from math import cos, pi, sin


def arc(x, y, width, height, begin, end, points=24):
    """Points on an ellipse, from one angle to another in degrees, clockwise from the right."""
    angles = [(begin + (end - begin) * i / points) * pi / 180 for i in range(points + 1)]
    return [(x + width * cos(angle), y + height * sin(angle)) for angle in angles]


DIGITS = {
    "0": [arc(0.5, 0.5, 0.22, 0.36, -90, 270)],
    "1": [[(0.38, 0.28), (0.52, 0.14), (0.52, 0.86)]],
    "2": [[*arc(0.5, 0.3, 0.2, 0.17, 180, 400), (0.3, 0.85), (0.72, 0.85)]],
    "3": [[*arc(0.48, 0.31, 0.2, 0.17, 200, 450), *arc(0.48, 0.67, 0.22, 0.19, -90, 160)]],
    "4": [[(0.58, 0.12), (0.28, 0.6), (0.75, 0.6)], [(0.6, 0.4), (0.6, 0.9)]],
    "5": [[(0.7, 0.14), (0.36, 0.14), (0.34, 0.45), *arc(0.48, 0.64, 0.22, 0.21, -120, 150)]],
    "6": [[(0.6, 0.12), (0.38, 0.4), *arc(0.5, 0.67, 0.18, 0.19, 180, 540)]],
    "7": [[(0.28, 0.15), (0.72, 0.15), (0.45, 0.88)]],
    "8": [[*arc(0.5, 0.3, 0.16, 0.17, 90, 450), *arc(0.5, 0.67, 0.2, 0.2, -90, 270)]],
    "9": [[*arc(0.5, 0.32, 0.18, 0.18, 0, 360), (0.66, 0.6), (0.58, 0.88)]],
}


def circle(i):
    """Another circle for each i."""
    return [arc(0.5 + 0.02 * i, 0.5, 0.2 + 0.02 * i, 0.25, 0, 360)]


def cross(i):
    """Another cross for each i."""
    return [[(0.25 + 0.02 * i, 0.2), (0.75, 0.8)], [(0.75, 0.2), (0.25 + 0.03 * i, 0.8)]]


def dash(i):
    """Another dash for each i."""
    return [[(0.2, 0.5 + 0.02 * i), (0.8, 0.5 - 0.01 * i)]]
