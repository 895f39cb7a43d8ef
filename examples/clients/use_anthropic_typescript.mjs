// Anthropic's client for TypeScript and JavaScript.

// /// script
// [tool.client]
// name = "anthropic (TypeScript)"
// way = "serve"
// type = 'new Anthropic()'
// works = ["answer", "stream", "tools", "structured output"]
// npm = ["@anthropic-ai/sdk", "zod"]
// version_of = "@anthropic-ai/sdk"
// ///

import Anthropic from "@anthropic-ai/sdk";
import { betaZodTool } from "@anthropic-ai/sdk/helpers/beta/zod";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import { z } from "zod";

const client = new Anthropic(); // ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY name the server
const limits = { model: "sonnet", max_tokens: 100 };
const messages = [{ role: "user", content: "What is the capital of France?" }];

const answer = await client.messages.create({ ...limits, messages });
console.log("answer:", answer.content[0].text);

const parts = [];
await client.messages.stream({ ...limits, messages }).on("text", (part) => parts.push(part)).finalMessage();
console.log(`stream: ${parts.length} parts: ${parts.join("")}`);

const weather = betaZodTool({
  name: "weather",
  description: "Return the weather in a city.",
  inputSchema: z.object({ city: z.string() }),
  run: ({ city }) => `sunny in ${city}`,
});
const last = await client.beta.messages.toolRunner({
  ...limits,
  messages: [{ role: "user", content: "What is the weather in Paris?" }],
  tools: [weather],
});
console.log("tools:", last.content[0].text);

const city = await client.messages.parse({
  ...limits,
  messages: [{ role: "user", content: "Describe Paris." }],
  output_config: { format: zodOutputFormat(z.object({ name: z.string(), population: z.number() })) },
});
console.log("structured output:", JSON.stringify(city.parsed_output));
