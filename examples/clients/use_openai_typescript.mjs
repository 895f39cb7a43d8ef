// OpenAI's client for TypeScript and JavaScript.

// /// script
// [tool.client]
// name = "openai (TypeScript)"
// way = "serve"
// type = 'new OpenAI()'
// works = ["answer", "stream", "tools", "structured output"]
// npm = ["openai", "zod"]
// version_of = "openai"
// ///

import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const client = new OpenAI(); // OPENAI_BASE_URL and OPENAI_API_KEY name the server
const model = "sonnet";
const messages = [{ role: "user", content: "What is the capital of France?" }];

const answer = await client.chat.completions.create({ model, messages });
console.log("answer:", answer.choices[0].message.content);

const parts = [];
for await (const chunk of await client.chat.completions.create({ model, messages, stream: true })) {
  if (chunk.choices[0]?.delta.content) parts.push(chunk.choices[0].delta.content);
}
console.log(`stream: ${parts.length} parts: ${parts.join("")}`);

const runner = client.chat.completions.runTools({
  model,
  messages: [{ role: "user", content: "What is the weather in Paris?" }],
  tools: [
    {
      type: "function",
      function: {
        name: "weather",
        function: ({ city }) => `sunny in ${city}`,
        parse: JSON.parse,
        parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
      },
    },
  ],
});
console.log("tools:", await runner.finalContent());

const city = await client.chat.completions.parse({
  model,
  messages: [{ role: "user", content: "Describe Paris." }],
  response_format: zodResponseFormat(z.object({ name: z.string(), population: z.number() }), "city"),
});
console.log("structured output:", JSON.stringify(city.choices[0].message.parsed));
