"""
What a network has learned
==========================

Kernels, feature maps, and the pixels that drive a decision. All of it comes from the VJPs of the layers.
"""

from funcnn import attribution, data, intermediates, losses, models, optim, predictor, show, training

digits = data.open("digits")
model = models.convnet(10)
*_, epoch = training.fit(
    model, losses.softmax_cross_entropy, optim.adam(2e-3), digits.x, digits.labels, epochs=3, batch_size=32, key=(0,)
)
params, state = epoch.train_state.params, epoch.train_state.state
description = predictor.describe(
    {"name": "convnet", "arguments": {"outputs": 10}}, (8, 8, 1), digits.classes, full_scale=digits.full_scale
)
trained = predictor.from_description(description, params, state)

# %%
# The kernels of the first convolution: each is laid on every place of the image, and answers where the image is bright
# under its red and dark under its blue weights. Some look for an edge or a stroke of one direction.
show.kernels(trained)

# %%
# What becomes of an eight, layer by layer. The maps get smaller and more numerous; at the end there is a number for
# each digit, and their softmax are the probabilities.
show.features(trained, digits, 8)

# %%
# The numbers behind the picture are arrays, by the paths of the layers:
maps = intermediates.activations(model, params, state, digits.x[8:9])
print({path: output.shape for path, output in maps.items()})

# %%
# Which pixels drive the decision. *gradient*: how the score of the digit changes with each pixel. *gradient x input*:
# what each pixel contributes, if the network were linear. *Grad-CAM*: where the last maps speak for the digit, which is
# as coarse as these maps, 2x2 here.
show.attribution(trained, digits, [3, 8, 27])

# %%
# Grad-CAM of an earlier layer has more pixels and less meaning:
show.attribution(trained, digits, [3, 8, 27], methods=["grad-cam"], layer="2_relu")

# %%
# Each is one function of arrays. The gradient of the score is the VJP of the whole network, of the unit vector of a
# class:
saliency = attribution.input_gradient(model, params, state, digits.x[[3, 8, 27]])
print(saliency.shape, "largest:", abs(saliency).max(axis=(1, 2, 3)).round(2))

# %%
# Do units die, do signals vanish or explode on their way? ``dead`` are units that are 0 for every example.
show.statistics(trained, digits)
