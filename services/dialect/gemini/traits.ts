/** What the names of models tell of them. */
export interface ModelTraits {
  /**
   * Whether the model is of Gemini 3 or later: thinks by levels rather than budgets, wants signatures back with its calls,
   * takes media in the results of tools and a resolution for each medium.
   */
  readonly isModern: boolean;
}

// Names without a generation, such as `gemini-flash-latest`, stand for the latest one.
const olderNames = /(?:^|\/)(?:gemini-(?:1|2|exp|pro-vision|robotics)\b|gemini-pro$|gemma|learnlm)/;

/** @param model as the target names it, with or without a path in front */
export function traitsOf(model: string): ModelTraits {
  return { isModern: !olderNames.test(model) };
}
