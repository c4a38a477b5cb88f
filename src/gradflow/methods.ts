/** How every figure of the report was computed, in the words the page shows. */
import type { GradientReuseReport } from "./report/index.ts";

const paper = "Wang et al. 2019, CSPNet, arXiv 1911.11929";

/** The methods section for pieces sampled over so many images. */
export function reportMethods(imagesPerSample: number): GradientReuseReport["methods"] {
  return [
    {
      figure: "equations",
      definition:
        "Read off the traced network: norms, activations, pooling and 1x1 bottlenecks collapse into the weighted layer they belong to; a weight's gradient set is the gradients of the feature maps its layer reads through concatenations, slices and sums.",
      reference: `${paper}, equations (1) to (4)`,
    },
    {
      figure: "reuse and duplicates",
      definition:
        "A gradient's reuse is the number of weights whose set holds it; duplicates are reuse minus 1, summed. Two weights are on different sides when only one of them reads the part of the input that bypasses the block.",
      reference: `${paper}, section 3.1`,
    },
    {
      figure: "gradient paths",
      definition:
        "Directed paths from the end of the stage to a feature map, counted by dynamic programming on the collapsed graph; length in weighted layers.",
      reference: "Wang et al. 2022, gradient path analysis, arXiv 2211.04800",
    },
    {
      figure: "gradient pieces",
      definition: `The piece γ(j←i) is ∂L/∂x_j through consumer i alone, caught on the edge before the engine sums it into g_j; over a batch of ${imagesPerSample} images, where the map branches.`,
      reference: "the chain rule; the sum of the pieces equals g_j exactly",
    },
    {
      figure: "cosine",
      definition: "v_a·v_b / (|v_a| |v_b|) for the pieces v that two consumers send to one map; in [-1, 1].",
      reference: "its minimum over pairs is the gradient confusion of Sankararaman et al. 2020",
    },
    {
      figure: "shared energy",
      definition: "|Σ v|² / (n Σ |v|²): 1 for identical pieces, 1/n for orthogonal ones, 0 when they cancel.",
      reference: "inverse of gradient diversity, Yin et al. 2018",
    },
    {
      figure: "first direction",
      definition: "Largest eigenvalue of the pieces' Gram matrix over their sum; in [1/n, 1].",
      reference: "principal components, not centred",
    },
    {
      figure: "effective rank",
      definition: "exp of the entropy of the Gram matrix's eigenvalues, normalised to sum 1; in [1, n].",
      reference: "Roy & Vetterli 2007, with squared singular values",
    },
    {
      figure: "correlation between the sides",
      definition:
        "Pearson correlation of the gradients of x_0' and x_0'', each averaged over its channels to [N, H, W].",
      reference: `${paper} speaks of a "correlation difference" and leaves the measure open`,
    },
    {
      figure: "CKA between the sides",
      definition:
        "Linear centred kernel alignment of the gradients of x_0' and x_0'', the images of the batch as examples, by the unbiased estimate; in [-1, 1], 0 on average for unrelated sides.",
      reference: "Kornblith et al. 2019; Song et al. 2012 for the estimate",
    },
    {
      figure: "CKA between weight gradients",
      definition:
        "The same alignment between the gradients of two weights that read one map: the slices over the map's channels, which are the examples; output channels and kernel positions are the dimensions, so that their order and basis do not matter.",
      reference: "Kornblith et al. 2019; Song et al. 2012 for the estimate",
    },
    {
      figure: "parameters, operations, CIO",
      definition:
        "Counted on the traced graph: trained numbers; two operations per multiply-add of convolutions and matrix products; elements of input plus output of every convolution.",
      reference: "CIO: Chao et al. 2019, HarDNet",
    },
    {
      figure: "time and memory",
      definition:
        "Median wall time of a training step that was not sampled; most bytes of tensors live at one moment of a step.",
      reference: "this run, on the machine named above",
    },
    {
      figure: "accuracy",
      definition: "Share of test images whose largest logit is the label's, with running statistics.",
      reference: "interval: Wilson 1927",
    },
  ];
}
