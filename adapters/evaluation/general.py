"""General prompts and small questions, written for Graft: what a base says and knows, whatever it is tuned to.

MEASURED watches forgetting, REPLAYED fights it; no prompt is in both. Knows no model.
"""

from __future__ import annotations

MEASURED = (
    "What can you do for me?",
    "Name three animals that live in the sea.",
    "Is seven a prime number? Explain briefly.",
    "Write one sentence about the weather in spring.",
    "How do I boil an egg?",
    "Summarise in a few words: The meeting was moved from Monday to Thursday because two people are ill.",
    "Write a Python function that adds two numbers.",
    'Give me a JSON object with the fields "name" and "age".',
    "Once upon a time there was a small village by a river.",
    "Why is the sky blue?",
    "Give me two reasons to learn a second language.",
    "What is the difference between a lake and a sea?",
    "Rewrite politely: Send me the report now.",
    "List the months that have thirty days.",
    "My printer does not print. What should I check first?",
    "Explain to a child what money is.",
    "Say hello to a new colleague in two sentences.",
    "What would you pack for a weekend in the mountains?",
    "Describe the taste of a lemon.",
    "How many days are there in two weeks?",
    "Write a short note to thank a neighbour.",
    "What does a librarian do?",
    "Which is heavier, a kilogram of feathers or a kilogram of iron?",
    "Finish the sentence: The train was late, so we",
)
"""What the base answers to these is compared before and after."""

REPLAYED = (
    "Tell me something about birds.",
    "Name four colours.",
    "What is a triangle?",
    "Write one sentence about a busy street.",
    "How do I plant a tree?",
    "Summarise in a few words: The shop closes early on Friday because the heating is being repaired.",
    "Write a Python function that returns the larger of two numbers.",
    "Give me a JSON list with three fruits.",
    "Late in the evening somebody knocked at the door.",
    "Why do leaves fall in autumn?",
    "Give me two reasons to take a walk every day.",
    "What is the difference between a river and a canal?",
    "Rewrite in a friendly tone: You are too late.",
    "List the days of the week.",
    "My phone is slow. What can I do?",
    "Explain to a child what a map is for.",
    "Introduce yourself in two sentences.",
    "What would you cook for four guests?",
    "Describe the sound of rain.",
    "How many minutes are there in three hours?",
    "Write a short invitation to a birthday.",
    "What does a carpenter do?",
    "Is a whale a fish? Explain briefly.",
    "Finish the sentence: When the lights went out, she",
    "Give an example of a polite question.",
    "What is the opposite of generous?",
    "Suggest a name for a small bakery.",
    "How can I remember a telephone number?",
    "Why do people wear hats?",
    "Write a line of advice for somebody who moves to a new town.",
    "What happens to water at a hundred degrees Celsius?",
    "Compare a bicycle with a bus.",
)

QUESTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("What is the capital of France? Answer in one word.", ("paris",)),
    ("What is the capital of Italy? Answer in one word.", ("rome",)),
    ("What is the capital of Japan? Answer in one word.", ("tokyo",)),
    ("What is the capital of Germany? Answer in one word.", ("berlin",)),
    ("What is the capital of Spain? Answer in one word.", ("madrid",)),
    ("Which planet do we live on? Answer in one word.", ("earth",)),
    ("How many legs does a spider have? Answer with a number.", ("8", "eight")),
    ("How many days are there in a week? Answer with a number.", ("7", "seven")),
    ("What is 2 + 2? Answer with a number.", ("4", "four")),
    ("What is 10 minus 3? Answer with a number.", ("7", "seven")),
    ("What is 5 times 5? Answer with a number.", ("25", "twenty-five")),
    ("Which colour do you get from blue and yellow? Answer in one word.", ("green",)),
    ("Which language is spoken in Brazil? Answer in one word.", ("portuguese",)),
    ("Who wrote Romeo and Juliet?", ("shakespeare",)),
    ("What do bees make? Answer in one word.", ("honey",)),
    ("What is frozen water called? Answer in one word.", ("ice",)),
    ("Which animal barks? Answer in one word.", ("dog",)),
    ("What is the opposite of hot? Answer in one word.", ("cold",)),
    ("What is the opposite of big? Answer in one word.", ("small", "little", "tiny")),
    ("What is the chemical formula of water?", ("h2o", "h₂o")),
    ("On which continent is Egypt? Answer in one word.", ("africa",)),
    ("On which continent is China? Answer in one word.", ("asia",)),
    ("What is the largest ocean on Earth?", ("pacific",)),
    ("Which month comes after June? Answer in one word.", ("july",)),
)
"""Each with the words of which a right answer holds one."""


def is_right(answer: str, words: tuple[str, ...]) -> bool:
    said = answer.casefold()
    return any(word in said for word in words)
