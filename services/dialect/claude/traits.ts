/** What a model takes, as far as requests must be written differently for it. */
export interface ModelTraits {
  /** `thinking.type` `adaptive` and `output_config.effort`; models before Claude 4.6 refuse them. */
  readonly adaptiveThinking: boolean;
  /** `thinking.type` `enabled` with `budget_tokens`; models since Claude 4.7 refuse it. */
  readonly budgetThinking: boolean;
  /** `temperature`, `top_p` and `top_k`; models since Claude 4.7 refuse them. */
  readonly sampling: boolean;
  /** Messages of role `system` among the others; models before Claude 4.8 refuse them. */
  readonly systemMessages: boolean;
}

/**
 * What a model takes, by its name. The name of a Claude without a version is taken for a new one; that of another model
 * belongs to a server that imitates the older interface.
 * https://platform.claude.com/docs/en/about-claude/models/migration-guide
 * https://platform.claude.com/docs/en/build-with-claude/mid-conversation-system-messages
 */
export function traitsOf(model: string): ModelTraits {
  if (!model.includes("claude")) {
    return { adaptiveThinking: false, budgetThinking: true, sampling: true, systemMessages: false };
  }
  const version = versionOf(model);
  return {
    adaptiveThinking: version === undefined || version >= 406,
    budgetThinking: version !== undefined && version < 407,
    sampling: version !== undefined && version < 407,
    systemMessages: version !== undefined && version >= 408,
  };
}

// `claude-3-5-sonnet-20241022`, `claude-opus-4-20250514`, `claude-sonnet-4-6`, `claude-opus-4.8`, `claude-2.1`; a date is no
// minor version.
const versionShape = /claude-(?:v|[a-z]+-)?(\d{1,2})(?!\d)(?:[-.](\d{1,2})(?!\d))?/;

/** A hundred for each major version, one for each minor. */
function versionOf(model: string): number | undefined {
  const [, major, minor = "0"] = versionShape.exec(model) ?? [];
  return major === undefined ? undefined : Number(major) * 100 + Number(minor);
}
