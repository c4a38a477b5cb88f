/** How a family offers a network to the registry: by name, with its options and their defaults as data. */
import { Conv2d, init, Linear } from "../nn/index.ts";
import { initialise, type Network } from "./network.ts";

/** Options that every model has. */
export interface CommonOptions {
  readonly classes: number;
  /** Channels of the images. */
  readonly inChannels: number;
}

export interface ModelDefinition<Name extends string, Options extends CommonOptions, Made extends Network> {
  /** Lower case with hyphens: "csp-peleenet". */
  readonly name: Name;
  /** One line for lists. */
  readonly summary: string;
  /** The paper's table and row, "Table 3: CSPPeleeNet". */
  readonly paperRow?: string;
  /** Every option with its default. */
  readonly defaults: Options;
  /** Builds the network; it gets every option. */
  build(options: NoInfer<Options>): Made;
}

/** A model of the catalog. */
export interface ModelEntry<
  Name extends string = string,
  Options extends CommonOptions = CommonOptions,
  Made extends Network = Network,
> extends Omit<ModelDefinition<Name, Options, Made>, "build"> {
  /** Builds the network with these options and the defaults of the others. Throws for options that it has not. */
  create(options?: Partial<Options>): Made;
}

function resolve<Options extends CommonOptions>(
  model: string,
  defaults: Options,
  given: Partial<Options>,
): Options {
  const names = Object.keys(defaults);
  for (const name of Object.keys(given))
    if (!names.includes(name))
      throw new Error(`${model}: has no option ${name}; its options are ${names.join(", ")}`);
  const options = { ...defaults, ...given };
  for (const what of ["classes", "inChannels"] as const)
    if (!Number.isInteger(options[what]) || options[what] < 1)
      throw new Error(`${model}: ${what} ${options[what]} must be a positive integer`);
  return options;
}

/**
 * An entry for the catalog. `defaults` must hold every option: those that it lacks are refused.
 *
 *     defineModel({ name: "peleenet", summary: "…", defaults: peleeNetDefaults, build: (options) => new PeleeNet(options) })
 */
export function defineModel<const Name extends string, Options extends CommonOptions, Made extends Network>({
  build,
  ...description
}: ModelDefinition<Name, Options, Made>): ModelEntry<Name, Options, Made> {
  const { name, defaults } = description;
  const create = (options: Partial<Options> = {}) => {
    const resolved = resolve(name, defaults, options);
    // What convolutions draw when they are made would be overwritten at once, and takes longer than all the rest.
    const network = init.withoutDrawing(() => build(resolved));
    for (const module of network.namedModules().values())
      if (module instanceof Linear || (module instanceof Conv2d && module === network.classifier))
        module.resetParameters();
    initialise(network);
    return network;
  };
  return { ...description, create };
}
