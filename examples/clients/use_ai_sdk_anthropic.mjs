// Vercel's AI SDK, with @ai-sdk/anthropic.

// /// script
// [tool.client]
// name = "AI SDK (@ai-sdk/anthropic)"
// way = "serve"
// type = 'createAnthropic({ baseURL })'
// works = ["answer", "stream", "tools", "structured output"]
// npm = ["ai", "@ai-sdk/anthropic", "zod"]
// version_of = "@ai-sdk/anthropic"
// settings = {LITELLM_CLAUDE_CODE_DROP_PARAMS = "1"}
// ///

import { createAnthropic } from "@ai-sdk/anthropic";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const baseURL = `${process.env.ANTHROPIC_BASE_URL}/v1`; // the key is in ANTHROPIC_API_KEY
const provider = createAnthropic({ baseURL });
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
