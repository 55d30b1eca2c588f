"""
What a network has learned
==========================

Kernels, feature maps, and the pixels that drive a decision. All of it comes from the VJPs of the layers.
"""

from builder.drawing import tiles

from funcnn import attribution, data, intermediates, losses, models, optim, training

x, labels = data.digits()
model = models.convnet(10)
*_, epoch = training.fit(
    model, losses.softmax_cross_entropy, optim.adam(2e-3), x, labels, epochs=3, batch_size=32, key=(0,)
)
params, state = epoch.train_state.params, epoch.train_state.state

# %%
# The kernels of the first convolution; blue is negative.
w = params["0_conv2d"]["w"]
tiles(w[:, :, 0, :].transpose(2, 0, 1)[:16], "kernels", side=48)

# %%
# What they make of an eight:
maps = intermediates.activations(model, params, state, x[8:9])
print({path: output.shape for path, output in maps.items()})
tiles(maps["0_conv2d"][0].transpose(2, 0, 1)[:16], "feature maps", side=64)

# %%
# Which pixels drive the decision: the image, the gradient of the score, gradient times input, and Grad-CAM.
examples = x[[3, 8, 27]]
saliency = attribution.input_gradient(model, params, state, examples)
evidence = attribution.gradient_times_input(model, params, state, examples)
where = attribution.grad_cam(model, params, state, examples, "2_relu")
tiles(examples[..., 0], "the images")

# %%
tiles(saliency[..., 0], "the gradient of the score")

# %%
tiles(evidence[..., 0], "gradient times input")

# %%
tiles(where, "Grad-CAM")
