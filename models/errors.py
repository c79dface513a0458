"""What can go wrong in the classifier, as one tree; each message is one line that says what to do about it.

ModelsError
├── IndexInvalid          the INDEX of a data set: columns, labels, files, leaks between splits
├── OptionsInvalid        a training that cannot be: no such backbone, k larger than a class, OUT of another kind
├── WeightsInvalid        a weights file that does not fit the network
├── TrainingFailed        the training itself: the loss is no number
└── BundleError           a bundle that is not what it claims to be
"""


class ModelsError(Exception):
    pass


class IndexInvalid(ModelsError):
    pass


class OptionsInvalid(ModelsError, ValueError):
    pass


class WeightsInvalid(ModelsError):
    pass


class TrainingFailed(ModelsError):
    pass


class BundleError(ModelsError):
    pass
