namespace Functional

module Loss =
    let crossEntropy (prediction: Tensor) (target: Tensor) = Tensor.CrossEntropy(prediction, target)
