import { AppError } from '../errors.ts';
import type { ProviderConfig } from './gateway.ts';
import type { ScriptedModel } from './scripted/answer.ts';

export interface Target {
  providerName: string;
  provider: ProviderConfig;
  /** The provider's own name for the model. */
  model: string;
}

/** Where `<provider>/<model>` leads. Errors: unknown_model, provider_key_missing. */
export function findTarget(
  model: string,
  providers: Readonly<Record<string, ProviderConfig>>,
  scripted: ReadonlyMap<string, ScriptedModel>,
): Target {
  const providerName = providerPart(model);
  const name = model.slice(providerName.length + 1);
  if (providerName === model || name === '') {
    throw new AppError('unknown_model', `The model ${JSON.stringify(model)} names no provider.`, {
      hint: 'A model is <provider>/<model>, e.g. anthropic/claude-sonnet-4-5, or a name under `models:` of the configuration.',
    });
  }
  const provider = Object.hasOwn(providers, providerName) ? providers[providerName] : undefined;
  if (provider === undefined) {
    throw new AppError(
      'unknown_model',
      `The model ${model} is of the provider ${providerName}, which is not configured.`,
      {
        hint: `Configured are ${Object.keys(providers).join(', ') || 'none'}. Add it under \`providers\` in the configuration, or choose another model.`,
      },
    );
  }
  if (provider.kind === 'scripted') {
    const script = scripted.get(providerName);
    if (script === undefined) {
      throw new AppError('unknown_model', `The scripted provider ${providerName} has no script.`, {
        hint: `Set providers.${providerName}.script to a script file.`,
      });
    }
    if (!script.models.includes(name)) {
      throw new AppError('unknown_model', `The script of the provider ${providerName} has no model ${name}.`, {
        hint: `It has ${script.models.join(', ')}.`,
      });
    }
  }
  if (provider.keyNeeded && provider.key === null) {
    throw new AppError('provider_key_missing', `The provider ${providerName} needs a key, and none is set.`, {
      hint: `${howToSet(providerName, provider.keyFrom)}, or choose a model of another provider.`,
    });
  }
  return { providerName, provider, model: name };
}

/** `from`: what the configuration says of the place: `environment <name>`, `file <path>` or nothing. */
function howToSet(providerName: string, from: string | null): string {
  if (from === null) return `Set providers.${providerName}.key_env or key_file`;
  const [, kind, place] = /^(environment|file) (.*)$/s.exec(from) ?? [];
  return kind === 'file' ? `Put it into ${place}` : `Set ${place ?? from} where the server is started`;
}

/** The provider's name in `<provider>/<model…>`; the whole where there is no slash. */
export function providerPart(model: string): string {
  return model.split('/', 1)[0] ?? '';
}
