// Vercel's AI SDK, with @ai-sdk/openai-compatible.

// /// script
// [tool.client]
// name = "AI SDK (@ai-sdk/openai-compatible)"
// way = "serve"
// type = 'createOpenAICompatible({ name: "claude-code", baseURL, apiKey, supportsStructuredOutputs: true })'
// works = ["answer", "stream", "tools", "structured output"]
// npm = ["ai", "@ai-sdk/openai-compatible", "zod"]
// version_of = "@ai-sdk/openai-compatible"
// ///

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const { OPENAI_BASE_URL: baseURL, OPENAI_API_KEY: apiKey } = process.env;
const provider = createOpenAICompatible({ name: "claude-code", baseURL, apiKey, supportsStructuredOutputs: true });
const model = provider("sonnet");

const { text } = await generateText({ model, prompt: "What is the capital of France?" });
console.log("answer:", text);

const parts = [];
for await (const part of streamText({ model, prompt: "What is the capital of France?" }).textStream) {
  if (part) parts.push(part);
}
console.log(`stream: ${parts.length} parts: ${parts.join("")}`);

const weather = tool({
  description: "Return the weather in a city.",
  inputSchema: z.object({ city: z.string() }),
  execute: async ({ city }) => `sunny in ${city}`,
});
const used = await generateText({
  model,
  prompt: "What is the weather in Paris?",
  tools: { weather },
  stopWhen: stepCountIs(3),
});
console.log("tools:", used.text);

const city = await generateText({
  model,
  prompt: "Describe Paris.",
  output: Output.object({ schema: z.object({ name: z.string(), population: z.number() }) }),
});
console.log("structured output:", JSON.stringify(city.output));
